package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sync/errgroup"

	"l3extract/l3conn"
	"l3extract/stack"
)

// demoHosts are where the demo's server seems to be: addresses for documentation
// (RFC 5737, RFC 3849), which no network has.
var demoHosts = []netip.AddrPort{
	netip.MustParseAddrPort("192.0.2.80:80"),
	netip.MustParseAddrPort("[2001:db8::80]:80"),
}

// demoSize is the length of what the demo's server sends, in bytes.
const demoSize = 1 << 20

// demo fetches from a built-in HTTP server outside with a built-in client
// inside, and shows what the stack extracted. Where there are no namespaces it
// says so and does the same over an in-memory pipe.
func demo(o *options) (int, error) {
	ln, err := net.Listen("tcp", netip.AddrPortFrom(loopback4, 0).String())
	if err != nil {
		return exitSetup, fmt.Errorf("demo: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(demoPage)}
	var g errgroup.Group // the server; awaited below
	g.Go(func() error { return server.Serve(ln) })
	code, err := demoAt(o, ln.Addr().(*net.TCPAddr).AddrPort())
	err = errors.Join(err, server.Close())
	if served := g.Wait(); !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return code, err
}

func demoPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(demoSize))
	_, _ = io.WriteString(w, strings.Repeat("layer 3 extracted\n", demoSize/18+1)[:demoSize])
}

// demoInstead lets the command reach server, and nothing else on the loopback,
// as the demo's hosts.
func demoInstead(server netip.AddrPort) instead {
	return func(dst netip.AddrPort) (netip.AddrPort, bool) {
		for _, host := range demoHosts {
			if dst == host {
				return server, true
			}
		}
		return netip.AddrPort{}, false
	}
}

func demoAt(o *options, server netip.AddrPort) (int, error) {
	code, err := demoInside(o, server)
	var failed *setupError
	if !errors.As(err, &failed) || failed.Stage == stageStack || failed.Stage == stageCapture {
		return code, err
	}
	why, _, _ := strings.Cut(failed.Err.Error(), "\n")
	fmt.Printf("l3run demo: no namespace here (cannot %s: %s), so this runs over an in-memory pipe instead.\n\n", failed.Stage, why)
	return demoPipe(o, server)
}

// demoInside runs the client as a command is run.
func demoInside(o *options, server netip.AddrPort) (int, error) {
	out, childOut, err := os.Pipe()
	if err != nil {
		return exitSetup, err
	}
	defer out.Close()
	childIn, in, err := os.Pipe()
	if err != nil {
		return exitSetup, errors.Join(err, childOut.Close())
	}
	defer in.Close()
	cmd := &exec.Cmd{Args: []string{demoName}, Stdin: childIn, Stdout: childOut, Stderr: os.Stderr}
	var shown error
	code, err := runInside(cmd, orders{Path: selfPath}, o, demoInstead(server), func(s *session) {
		childIn.Close()
		childOut.Close()
		fmt.Print("l3run demo: an HTTP client in a network namespace whose only way out is a TUN device.\n" +
			"Its packets are extracted here, and every connection is dialled from outside.\n\n")
		shown = demoShow(out, s.stack)
		in.Close()
	})
	if code == 0 {
		err = errors.Join(err, shown)
	}
	if code == 0 && err != nil {
		code = 1
	}
	return code, err
}

// demoShow prints what the client says while it says it, and then, while its
// connections are still open, the stack's own account of them.
func demoShow(client io.Reader, s *stack.Stack) error {
	lines := bufio.NewScanner(client)
	fetched := uint64(0)
	for lines.Scan() && lines.Text() != demoDone {
		fmt.Println(lines.Text())
		if !strings.HasPrefix(lines.Text(), demoSkipped) {
			fetched += demoSize
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if extracted := printFlows(os.Stdout, s, fetched); extracted < fetched || fetched == 0 {
		return fmt.Errorf("demo: %d bytes were fetched, but the flows carried %d", fetched, extracted)
	}
	fmt.Print("\nNow a command of yours: l3run -- curl -sS http://example.com/     (l3run -help says more)\n")
	return nil
}

// demoPipe runs the client in this process, on a stack of its own at the other
// end of a pipe.
func demoPipe(o *options, server netip.AddrPort) (code int, err error) {
	near, far := l3conn.Pipe(0, o.mtu)
	s, err := newSession(near, o, demoInstead(server))
	if err != nil {
		return exitSetup, err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	cfg := new(stack.Config)
	for _, a := range insideAddrs {
		cfg.Addrs = append(cfg.Addrs, netip.PrefixFrom(a, a.BitLen()))
	}
	client, err := stack.New(far, cfg)
	if err != nil {
		return exitSetup, err
	}
	var g errgroup.Group // the client's stack and the client; awaited below
	g.Go(func() error { return client.Run(context.Background()) })
	r, w := io.Pipe()
	web := demoHTTP(client.DialContext)
	g.Go(func() error {
		defer w.Close()
		return demoFetch(w, web, demoHosts)
	})
	err = demoShow(r, s.stack)
	r.Close() // ends a client that still writes
	web.CloseIdleConnections()
	err = errors.Join(err, client.Close(), g.Wait())
	if err != nil {
		return 1, err
	}
	return 0, nil
}
