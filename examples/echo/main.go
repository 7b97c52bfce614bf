// Command echo answers every TCP connection in the packets that it gets, IPv4
// and IPv6, to whatever address and port it was opened, with what it says.
//
//	go run ./examples/echo                      a client in this process; no privileges
//	sudo go run ./examples/echo -tun l3e0       then, for example: nc 198.18.0.7 7
//
// With -tun this host is 198.18.0.1 and fd6c:3378::1 on the interface, the rest
// of their networks is the example, and so is whatever else you route there.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync"

	"l3extract/examples/internal/attach"
	"l3extract/stack"
	"l3extract/tcp"
)

func main() { attach.Main(run) }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	link, err := attach.Open(args, stdout)
	if err != nil {
		return err
	}
	defer link.Close()
	s, err := stack.New(link.Conn, nil)
	if err != nil {
		return err
	}
	out := log.New(stdout, "", 0)
	streams := s.TCP().Streams() // before the first packet: an acceptor that nobody asks refuses
	serve := func() error {
		var open sync.WaitGroup
		for st := range streams { // until s ends
			open.Go(func() { echo(st, out) })
		}
		open.Wait()
		return nil
	}
	return link.Run(ctx, s, serve, func(ctx context.Context, client *stack.Stack) error {
		return ask(ctx, client, out)
	})
}

// echo sends back what st says until it has said everything.
func echo(st *tcp.Stream, out *log.Logger) {
	defer st.Close()
	out.Printf("%v dialled %v", st.Source(), st.Destination())
	if _, err := io.Copy(st, st); err != nil && !errors.Is(err, net.ErrClosed) {
		out.Print(err)
	}
}

// ask is the client of the demo.
func ask(ctx context.Context, client *stack.Stack, out *log.Logger) error {
	for _, address := range []string{"192.0.2.7:7", "203.0.113.99:65535", "[2001:db8::7]:7"} {
		c, err := client.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		fmt.Fprintf(c, "hello, %s", address)
		if err := c.(*tcp.Stream).CloseWrite(); err != nil {
			return err
		}
		said, err := io.ReadAll(c)
		if err != nil {
			return err
		}
		out.Printf("it said %q", said)
		c.Close()
	}
	return nil
}
