package icmp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"l3extract/icmp"
	"l3extract/l3conn"
	"l3extract/stack"
)

// A program answers the pings to one address by itself, and tells of all others that
// there is nobody.
func ExampleAcceptor() {
	near, far := l3conn.Pipe(0, 0)
	s, err := stack.New(near, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	pings := s.ICMP() // from here on they wait
	go s.Run(context.Background())
	defer s.Close()
	go func() { // ends with s
		for {
			e, err := pings.AcceptEcho(context.Background())
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case e.Destination == netip.MustParseAddr("198.51.100.7"):
				_ = e.Reply()
			default:
				_ = e.Unreachable(&icmp.Error{Kind: icmp.NetUnreachable, From: netip.MustParseAddr("203.0.113.1")})
			}
		}
	}()

	// Somebody at the other end of the pipe pings.
	client, err := stack.New(far, &stack.Config{Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	go client.Run(context.Background())
	defer client.Close()
	pc, err := client.ListenPacket(context.Background(), "ip4:icmp", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, host := range []string{"198.51.100.7", "198.51.100.8"} {
		request := []byte{8, 0, 0, 0, 0, 1, 0, 1} // an echo, with identifier and number 1
		if _, err := pc.WriteTo(request, &net.IPAddr{IP: net.ParseIP(host)}); err != nil {
			fmt.Println(err)
			return
		}
		b := make([]byte, 1500)
		_, from, err := pc.ReadFrom(b)
		fmt.Printf("%s: type %d, code %d from %v, %v\n", host, b[0], b[1], from, err)
	}
	// Output:
	// 198.51.100.7: type 0, code 0 from 198.51.100.7, <nil>
	// 198.51.100.8: type 3, code 0 from 203.0.113.1, <nil>
}
