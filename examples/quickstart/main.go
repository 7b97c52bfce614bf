// Command quickstart is the library in one page: an http.Client behind a link of
// raw IP packets fetches from addresses that no network has, and an http.Server
// at the other end of the link answers in their place. It needs no privilege and
// no network, and runs on any system:
//
//	go run ./examples/quickstart
//
// Both ends are Stacks in this process. In earnest one of them is some device's
// kernel, and the link a TUN interface or a tunnel.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/signal"

	"golang.org/x/sync/errgroup"

	"l3extract/l3conn"
	"l3extract/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	near, far := l3conn.Pipe(0, 0)    // one IP packet per Read and Write
	ended := make(chan stack.Flow, 2) // one for each fetch: whoever ends a flow must not wait
	server, err := stack.New(near, &stack.Config{Trace: stack.Trace{Close: func(f stack.Flow) { ended <- f }}})
	if err != nil {
		return err
	}
	client, err := stack.New(far, &stack.Config{Addrs: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64"),
	}})
	if err != nil {
		return err
	}
	listener, err := server.Listen(ctx, "tcp", ":80") // of every address; server.TCP() listens on every port, too
	if err != nil {
		return err
	}
	web := &http.Server{Handler: http.HandlerFunc(hello)}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error { return client.Run(ctx) })
	g.Go(func() error {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		err := fetch(ctx, client, ended, stdout)
		return errors.Join(err, web.Close(), client.Close(), server.Close())
	})
	return g.Wait()
}

func hello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "hello, %s; you dialled %v", r.RemoteAddr, r.Context().Value(http.LocalAddrContextKey))
}

// fetch prints what the client gets and what the server's Stack extracted.
func fetch(ctx context.Context, client *stack.Stack, ended <-chan stack.Flow, stdout io.Writer) error {
	browser := &http.Client{Transport: &http.Transport{DialContext: client.DialContext}}
	for _, url := range []string{"http://192.0.2.80/", "http://[2001:db8::80]/"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := browser.Do(request)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "GET %s: %s: %s\n", url, response.Status, body)
		browser.CloseIdleConnections()
		select {
		case f := <-ended:
			fmt.Fprintf(stdout, "extracted: %s from %v to %v, %d bytes there, %d back, %v\n",
				f.Network, f.Source, f.Destination, f.In, f.Out, f.Cause)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
