package attach

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"l3extract/l3conn"
	"l3extract/l3conn/tun"
	"l3extract/stack"
)

// Addrs are the addresses of the client: of the second Stack, or of this host on
// the TUN interface. Those of IPv4 are reserved for benchmarks (RFC 2544), so
// that no network of the host's has them.
func Addrs() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24"), netip.MustParsePrefix("fd6c:3378::1/64")}
}

// drainTime bounds how long closed connections may take to end.
const drainTime = 10 * time.Second

// Link is where an example's packets come from.
type Link struct {
	// Conn is what the example makes its Stack on.
	Conn l3conn.Conn

	stdout io.Writer
	client *stack.Stack // at the other end of the Pipe; nil with a TUN
	close  func() error
}

// Open reads the arguments of an example and opens its link: with -tun NAME that
// interface, else a Pipe. It returns flag.ErrHelp when it was asked for help.
func Open(args []string, stdout io.Writer) (*Link, error) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the caller prints the error
	name := flags.String("tun", "", "")
	flags.Usage = func() {} // an error is one line
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stdout, "-tun NAME   take the packets of this TUN interface, until interrupted, instead of a demo's")
		}
		return nil, err
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *name != "":
		return openTUN(*name, stdout)
	}
	return openPipe(stdout)
}

func openTUN(name string, stdout io.Writer) (*Link, error) {
	cfg := &tun.Config{Name: name}
	if runtime.GOOS == "linux" { // elsewhere the system's own tools do that
		cfg.Addrs = Addrs()
	}
	device, err := tun.Open(cfg)
	if err != nil && len(cfg.Addrs) > 0 {
		cfg.Addrs = cfg.Addrs[:1] // a host without IPv6
		if device, _ = tun.Open(cfg); device != nil {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(stdout, "%s is open, with these addresses of this host: %v\n", device.Name(), cfg.Addrs)
	return &Link{Conn: device, stdout: stdout, close: device.Close}, nil
}

func openPipe(stdout io.Writer) (*Link, error) {
	near, far := l3conn.Pipe(0, 0)
	client, err := stack.New(far, &stack.Config{Addrs: Addrs()})
	if err != nil {
		return nil, err
	}
	return &Link{Conn: near, stdout: stdout, client: client, close: func() error {
		return errors.Join(client.Close(), near.Close(), far.Close())
	}}, nil
}

// Run runs s and serve, which returns when s has ended. Over a Pipe it runs the
// client, too, and ends when that is done; with a TUN it ends with ctx, which is
// no error then.
func (l *Link) Run(ctx context.Context, s *stack.Stack, serve func() error, client func(context.Context, *stack.Stack) error) error {
	if l.client == nil {
		fmt.Fprintln(l.stdout, "ready")
	}
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(inner) })
	g.Go(func() error {
		if err := serve(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil // the end of s, and Run says why
	})
	if l.client == nil {
		if err := g.Wait(); ctx.Err() == nil || !errors.Is(err, context.Cause(ctx)) {
			return err
		}
		return nil
	}
	g.Go(func() error { return l.client.Run(inner) })
	g.Go(func() error {
		err := client(inner, l.client)
		if err == nil {
			err = shutdown(inner, l.client, s)
		}
		return errors.Join(err, l.client.Close(), s.Close())
	})
	return g.Wait()
}

// shutdown lets what is closed end in order, on both sides.
func shutdown(ctx context.Context, stacks ...*stack.Stack) error {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	for _, s := range stacks {
		if err := s.Shutdown(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close gives the link back, once Run has returned or in its place.
func (l *Link) Close() error { return l.close() }
