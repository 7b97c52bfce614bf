package l3extract_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/netip"

	"l3extract/l3conn"
	"l3extract/stack"
)

func hello(ctx context.Context, conn io.ReadWriter) error { // conn: one IP packet per Read, one per Write
	s, err := stack.New(conn, nil)
	if err != nil {
		return err
	}
	streams := s.TCP().Streams() // every TCP connection in those packets, wherever it was going
	go func() {
		for st := range streams {
			fmt.Fprintf(st, "you are %v and dialled %v", st.Source().Addr(), st.Destination())
			st.Close() // a *tcp.Stream is a net.Conn
		}
	}()
	return s.Run(ctx) // moves packets until ctx or conn ends
}

// A second Stack at the other end of a Pipe plays the client: it dials any address that it likes.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a, b := l3conn.Pipe(64, 1500)
	go hello(ctx, a)

	client, err := stack.New(b, &stack.Config{Addrs: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64"),
	}})
	if err != nil {
		log.Fatal(err)
	}
	go client.Run(ctx)
	for _, address := range []string{"192.0.2.80:80", "[2001:db8::80]:443"} {
		c, err := client.DialContext(ctx, "tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		said, err := io.ReadAll(c)
		if err != nil {
			log.Fatal(err)
		}
		c.Close()
		fmt.Printf("%s\n", said)
	}
	// Output:
	// you are 10.0.0.2 and dialled 192.0.2.80:80
	// you are fd00::2 and dialled [2001:db8::80]:443
}
