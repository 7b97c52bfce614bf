// Command udpecho answers every UDP datagram in the packets that it gets, from
// the address that it was sent to. One client socket is one udp.Socket here,
// however many servers it talks to (mapping udp.PerSource).
//
//	go run ./examples/udpecho                   a client in this process; no privileges
//	sudo go run ./examples/udpecho -tun l3e0    then, for example: nc -u 198.18.0.7 7
//
// With -tun this host is 198.18.0.1 and fd6c:3378::1 on the interface, the rest
// of their networks is the example, and so is whatever else you route there.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/netip"
	"sync"
	"time"

	"l3extract/examples/internal/attach"
	"l3extract/stack"
	"l3extract/udp"
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
	sockets := s.UDP().Sockets() // before the first packet: an acceptor that nobody asks refuses
	serve := func() error {
		var open sync.WaitGroup
		for sock := range sockets { // until s ends
			open.Go(func() { echo(sock, out) })
		}
		open.Wait()
		return nil
	}
	return link.Run(ctx, s, serve, func(ctx context.Context, client *stack.Stack) error {
		return ask(ctx, client, out)
	})
}

// echo answers what a client sends until it has been silent for long enough, or
// until the Stack ends.
func echo(sock *udp.Socket, out *log.Logger) {
	defer sock.Close()
	buf := make([]byte, 64<<10)
	for {
		m, err := sock.ReadMsg(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			out.Printf("socket %d: %v sent %d bytes to %v", sock.ID(), m.Source, len(m.Payload), m.Destination)
			_, err = sock.WriteMsg(m.Reply(m.Payload))
		}
		if err != nil { // of one datagram, such as an ICMP error about an earlier one
			out.Print(err)
		}
	}
}

// ask is the client of the demo: one socket for each IP version, two servers.
func ask(ctx context.Context, client *stack.Stack, out *log.Logger) error {
	for _, servers := range [][]string{
		{"192.0.2.7:7", "203.0.113.9:3478"},
		{"[2001:db8::7]:7", "[2001:db8:1::9]:3478"},
	} {
		pc, err := client.ListenPacket(ctx, "udp", ":0")
		if err != nil {
			return err
		}
		defer pc.Close()
		for _, server := range servers {
			to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(server))
			if _, err := pc.WriteTo([]byte("hello, "+server), to); err != nil {
				return err
			}
			buf := make([]byte, 100)
			if err := pc.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				return err
			}
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return err
			}
			out.Printf("%v said %q", from, buf[:n])
		}
	}
	return nil
}
