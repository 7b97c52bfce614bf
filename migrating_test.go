package l3extract_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"

	"l3extract/adapters/forward"
	"l3extract/l3conn"
	"l3extract/stack"
	"l3extract/tcp"
)

// The functions whose bodies MIGRATING.md shows, each followed by the example that runs it.

func fromGonet(ctx context.Context, conn io.ReadWriter, serve func(net.Conn)) error {
	s, err := stack.New(conn, nil)
	if err != nil {
		return err
	}
	streams := s.TCP().Streams()
	go func() {
		for st := range streams {
			go serve(st)
		}
	}()
	return s.Run(ctx)
}

func Example_fromGonet() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, client := peer(ctx, "10.0.0.2/24")
	go fromGonet(ctx, conn, func(c net.Conn) {
		fmt.Fprintf(c, "hello from %v", c.LocalAddr())
		c.Close()
	})
	fmt.Println(ask(ctx, client, "192.0.2.1:7"))
	// Output: hello from 192.0.2.1:7
}

func fromTun2socks(ctx context.Context, conn io.ReadWriter, dialer forward.Dialer) error {
	s, err := stack.New(conn, &stack.Config{TCP: tcp.Config{LazyHandshake: true}}) // dial first, then answer
	if err != nil {
		return err
	}
	go s.Run(ctx)
	f := forward.Server{Dialer: dialer} // anything with DialContext: a net.Dialer, a proxy
	return f.Serve(ctx, s)
}

func Example_fromTun2socks() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, client := peer(ctx, "10.0.0.2/24")
	go fromTun2socks(ctx, conn, upstream{})
	fmt.Println(ask(ctx, client, "198.51.100.9:80"))
	// Output: dialled 198.51.100.9:80
}

func fromWireguard(ctx context.Context, conn io.ReadWriter) error {
	s, err := stack.New(conn, &stack.Config{
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")},
		MTU:   1420,
	})
	if err != nil {
		return err
	}
	go s.Run(ctx)
	client := http.Client{Transport: &http.Transport{DialContext: s.DialContext}}
	res, err := client.Get("http://10.0.0.1/")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(os.Stdout, res.Body)
	return err
}

func Example_fromWireguard() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, server := peer(ctx, "10.0.0.1/24")
	l, err := server.Listen(ctx, "tcp", ":80")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello through the tunnel")
	}))
	if err := fromWireguard(ctx, conn); err != nil {
		log.Fatal(err)
	}
	// Output: hello through the tunnel
}

func fromL3Extract(ctx context.Context, conn io.ReadWriter) error {
	s, err := stack.New(conn, &stack.Config{MTU: 1500})
	if err != nil {
		return err
	}
	streams := s.TCP().Streams()
	go func() {
		for stream := range streams {
			go echo(stream)
		}
	}()
	return s.Run(ctx)
}

func echo(stream *tcp.Stream) {
	io.Copy(stream, stream)
	stream.Close()
}

func Example_fromL3Extract() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, client := peer(ctx, "10.0.0.2/24")
	go fromL3Extract(ctx, conn)
	c, err := client.DialContext(ctx, "tcp", "192.0.2.1:7")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(c, "hello, hello")
	c.(*tcp.Stream).CloseWrite()
	back, err := io.ReadAll(c)
	c.Close()
	fmt.Println(string(back), err)
	// Output: hello, hello <nil>
}

// peer is a link and the Stack at its other end, which has the address own.
func peer(ctx context.Context, own string) (io.ReadWriter, *stack.Stack) {
	conn, other := l3conn.Pipe(64, 1500)
	s, err := stack.New(other, &stack.Config{Addrs: []netip.Prefix{netip.MustParsePrefix(own)}})
	if err != nil {
		log.Fatal(err)
	}
	go s.Run(ctx)
	return conn, s
}

// ask dials address and returns all that it says. What is asked has only just been started in a goroutine: as long as
// nobody accepts there it refuses.
func ask(ctx context.Context, s *stack.Stack, address string) string {
	c, err := s.DialContext(ctx, "tcp", address)
	for errors.Is(err, syscall.ECONNREFUSED) {
		c, err = s.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	if err != nil {
		log.Fatal(err)
	}
	return string(said)
}

// upstream stands for a dialer to the real network: it says what was dialled.
type upstream struct{}

func (upstream) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() { // ends when the line is read, or near is closed
		fmt.Fprint(far, "dialled "+address)
		far.Close()
	}()
	return near, nil
}
