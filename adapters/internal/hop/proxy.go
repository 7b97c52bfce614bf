package hop

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
)

// DefaultTimeout bounds reaching a proxy and its handshake.
const DefaultTimeout = 10 * time.Second

// Proxy is a proxy as its clients reach it.
type Proxy struct {
	Protocol string          // for errors
	Address  string          // host:port, or the path of a Unix socket
	Dialer   outbound.Dialer // nil: a direct.Dialer
	Timeout  time.Duration   // 0: DefaultTimeout; negative: as long as the context
}

// IsPath tells the path of a Unix socket from host:port: it begins with "/", "./",
// "../", or "@" for a name of Linux's abstract namespace.
func IsPath(address string) bool {
	return strings.HasPrefix(address, "/") || strings.HasPrefix(address, "@") ||
		strings.HasPrefix(address, "./") || strings.HasPrefix(address, "../")
}

// Bound returns a context that ends when the time for a dial is over.
func (p *Proxy) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	switch {
	case p.Timeout < 0:
		return context.WithCancel(ctx)
	case p.Timeout == 0:
		return context.WithTimeout(ctx, DefaultTimeout)
	}
	return context.WithTimeout(ctx, p.Timeout)
}

// Dial connects to the proxy. A Unix socket is the host's own business, so Dialer is
// not asked for it. The error is an *Error.
func (p *Proxy) Dial(ctx context.Context) (net.Conn, error) {
	var c net.Conn
	var err error
	switch {
	case p.Address == "":
		err = errors.New("it has no address")
	case IsPath(p.Address):
		var d net.Dialer
		c, err = d.DialContext(ctx, "unix", p.Address)
	case p.Dialer == nil:
		var d direct.Dialer
		c, err = d.DialContext(ctx, "tcp", p.Address)
	default:
		c, err = p.Dialer.DialContext(ctx, "tcp", p.Address)
	}
	if err != nil {
		return nil, p.Fault(plain(err))
	}
	return c, nil
}

// plain leaves out of a dial's error what the line around it says already.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op == err {
		return op.Err
	}
	return err
}

// Within runs f, which reads from and writes to c, and cuts it short when ctx ends;
// then the error is the context's, as os.ErrDeadlineExceeded too if time is up. c is
// of no use after an error. It has no deadline after success.
func Within(ctx context.Context, c net.Conn, f func(c net.Conn) error) error {
	stop := context.AfterFunc(ctx, func() {
		if c.SetDeadline(past) != nil { // no deadlines
			_ = c.Close()
		}
	})
	err := f(c)
	if !stop() {
		err = Ended(ctx)
	}
	return err
}

var past = time.Unix(1, 0)

// Ended returns why ctx ended, as Within does.
func Ended(ctx context.Context) error {
	if err := ctx.Err(); err != context.DeadlineExceeded {
		return err
	}
	return errTimeout{}
}

// errTimeout is time that is up, by whichever name it is looked for.
type errTimeout struct{}

func (errTimeout) Error() string   { return "no answer in time" }
func (errTimeout) Timeout() bool   { return true }
func (errTimeout) Temporary() bool { return true }
func (errTimeout) Is(target error) bool {
	return target == os.ErrDeadlineExceeded || target == context.DeadlineExceeded
}

// Networks returns an error unless network is a kind of TCP.
func Networks(network string) error {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return nil
	}
	return net.UnknownNetworkError(network)
}
