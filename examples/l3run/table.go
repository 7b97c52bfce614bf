package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"l3extract/stack"
)

// printFlows writes a table of the flows that s has now, once they have carried
// at least want bytes to the command, and returns how many. The command may have
// read what is about to be counted: for that it waits, a little.
func printFlows(w io.Writer, s *stack.Stack, want uint64) (received uint64) {
	const patience, pause = 2 * time.Second, time.Millisecond
	flows := openFlows(s)
	for began := time.Now(); carried(flows) < want && time.Since(began) < patience; flows = openFlows(s) {
		time.Sleep(pause)
	}
	fmt.Fprint(w, "\nWhat the stack extracted, from its Flows():\n\n")
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "\tSOURCE\tDESTINATION\tSENT\tRECEIVED\tTIME\tSTATE")
	for _, f := range flows {
		fmt.Fprintf(t, "%s\t%v\t%v\t%d\t%d\t%v\t%s\n", f.Network, f.Source, f.Destination,
			f.In, f.Out, f.Duration(time.Now()).Round(time.Millisecond), f.State)
	}
	t.Flush()
	return carried(flows)
}

// openFlows returns the flows of the command.
func openFlows(s *stack.Stack) (flows []stack.Flow) {
	for f := range s.Flows() {
		if f.Source.IsValid() { // else our own socket, for DNS
			flows = append(flows, f)
		}
	}
	return flows
}

func carried(flows []stack.Flow) (n uint64) {
	for _, f := range flows {
		n += f.Out
	}
	return n
}
