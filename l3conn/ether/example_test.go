package ether_test

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"l3extract/l3conn/ether"
	"l3extract/stack"
)

// The web server of a virtual machine's whole world: whatever address the guest dials,
// it is answered here.
func Example() {
	serve := func(ctx context.Context, qemu net.Conn) error { // of -netdev stream,server=off
		carrier, err := ether.Stream(qemu)
		if err != nil {
			return err
		}
		conn, err := ether.New(carrier, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		s, err := stack.New(conn, &stack.Config{Addrs: conn.Addrs()})
		if err != nil {
			return err
		}
		go http.Serve(s.TCP(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello, %s\n", r.RemoteAddr)
		}))
		return s.Run(ctx) // until qemu ends
	}
	guest, host := net.Pipe()
	guest.Close()
	fmt.Println(serve(context.Background(), host))
	// Output: read packet: EOF
}
