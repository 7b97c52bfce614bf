package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"l3extract/stack"
)

// printFlows writes a table of the flows that s has now, and returns how many
// bytes they carried to the command.
func printFlows(w io.Writer, s *stack.Stack) (received uint64) {
	fmt.Fprint(w, "\nWhat the stack extracted, from its Flows():\n\n")
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "\tSOURCE\tDESTINATION\tSENT\tRECEIVED\tTIME\tSTATE")
	for f := range s.Flows() {
		if !f.Source.IsValid() {
			continue // our own socket, for DNS
		}
		received += f.Out
		fmt.Fprintf(t, "%s\t%v\t%v\t%d\t%d\t%v\t%s\n", f.Network, f.Source, f.Destination,
			f.In, f.Out, f.Duration(time.Now()).Round(time.Millisecond), f.State)
	}
	t.Flush()
	return received
}
