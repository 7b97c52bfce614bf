// Command wireguard runs both ends of a WireGuard tunnel in this process, without
// root and without an interface of the system: wireguard-go encrypts, UDP on the
// loopback is the network between them, and behind each end is a Stack. An
// http.Client fetches through the tunnel from an http.Server:
//
//	go run ./examples/wireguard
//
// It shows what joins them, [l3extract/l3conn/wgtun.Pair]. In earnest one of the ends
// is some other host's, and that may run any WireGuard. See examples/wgserver for a
// server with a configuration file.
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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "wireguard:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	server, err := newPeer("10.77.0.1/24", "fd77::1/64")
	if err != nil {
		return err
	}
	defer server.device.Close()
	client, err := newPeer("10.77.0.2/24", "fd77::2/64")
	if err != nil {
		return err
	}
	defer client.device.Close()
	if err := errors.Join(server.meet(client), client.meet(server)); err != nil {
		return err
	}

	listener, err := server.stack.Listen(ctx, "tcp", ":80")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: http.HandlerFunc(hello)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.stack.Run(ctx) })
	g.Go(func() error { return client.stack.Run(ctx) })
	g.Go(func() error {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		err := fetch(ctx, client, stdout)
		if err == nil {
			err = report(server, client, stdout)
		}
		return errors.Join(err, web.Close(), client.stack.Close(), server.stack.Close())
	})
	return g.Wait()
}

// size is how much the client fetches, in bytes.
const size = 8 << 20

func hello(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/bulk" {
		_, _ = w.Write(make([]byte, size))
		return
	}
	fmt.Fprintf(w, "hello, %s; you came through the tunnel", netip.MustParseAddrPort(r.RemoteAddr).Addr())
}

// fetch is an ordinary http.Client that dials through its Stack.
func fetch(ctx context.Context, client *peer, stdout io.Writer) error {
	transport := &http.Transport{DialContext: client.stack.DialContext}
	defer transport.CloseIdleConnections()
	browser := &http.Client{Transport: transport}
	for _, url := range []string{"http://10.77.0.1/", "http://[fd77::1]/", "http://10.77.0.1/bulk"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := browser.Do(request)
		if err != nil {
			return err
		}
		said, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil {
			return err
		}
		if len(said) == size {
			said = fmt.Appendf(nil, "%d MiB", size>>20)
		}
		fmt.Fprintf(stdout, "GET %s: %s: %s\n", url, response.Status, said)
	}
	return nil
}
