// Command halfclose ends one side of a TCP connection while the other goes on,
// both ways round. On port 1 the client ends first: the server reads to the end,
// and answers then. On port 2 the server does: it says all it has, ends its side,
// and still reads what the client has to say.
//
//	go run ./examples/halfclose                  a client in this process; no privileges
//	sudo go run ./examples/halfclose -tun l3e0   then: echo hello | nc -N 198.18.0.7 1
//
// With -tun this host is 198.18.0.1 and fd6c:3378::1 on the interface, and the
// rest of their networks is the example.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"syscall"

	"l3extract/examples/internal/attach"
	"l3extract/stack"
	"l3extract/tcp"
)

// The ports, by whose side ends first.
const (
	clientFirst = 1
	serverFirst = 2
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
			open.Go(func() {
				if err := answer(st, out); err != nil && !errors.Is(err, net.ErrClosed) {
					out.Print(err)
				}
			})
		}
		open.Wait()
		return nil
	}
	return link.Run(ctx, s, serve, func(ctx context.Context, client *stack.Stack) error {
		return errors.Join(endFirst(ctx, client, out), endLast(ctx, client, out))
	})
}

// answer is the server: st is what a client dialled.
func answer(st *tcp.Stream, out *log.Logger) error {
	defer st.Close()
	switch st.Destination().Port() {
	case clientFirst:
		said, err := io.ReadAll(st) // returns at the client's FIN
		if err != nil {
			return err
		}
		out.Printf("server: the client ended after %q, answering now", said)
		_, err = fmt.Fprintf(st, "you said %d bytes", len(said))
		return err
	case serverFirst:
		if _, err := io.WriteString(st, "that is all"); err != nil {
			return err
		}
		if err := st.CloseWrite(); err != nil { // our FIN; reading goes on
			return err
		}
		said, err := io.ReadAll(st)
		if err != nil {
			return err
		}
		out.Printf("server: after its end it read %q", said)
		return nil
	}
	return st.ResetCause(syscall.ECONNREFUSED)
}
