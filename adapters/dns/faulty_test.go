package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/adapters/direct"
)

// TestMuteServer: one that takes connections and does not go on keeps none of them for
// longer than its time, so that later questions are not left without.
func TestMuteServer(t *testing.T) {
	for _, scheme := range []string{"tls", "https"} {
		t.Run(scheme, func(t *testing.T) {
			r := start(t, scheme, "", www)
			mute, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections for it
			if err != nil {
				t.Fatal(err)
			}
			defer mute.Close()
			var isMute atomic.Bool
			isMute.Store(true)
			r.options.Timeout = 50 * time.Millisecond
			r.options.Dialer = dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
				if isMute.Load() {
					address = mute.Addr().String()
				}
				return new(direct.Dialer).DialContext(ctx, network, address)
			})
			u := r.upstream(t)
			for range 2 * httpsConns {
				if _, err := exchange(t, u, "www.example"); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
				}
			}
			isMute.Store(false)
			for range 100 { // a busy machine may take more than 50 ms
				if _, err = exchange(t, u, "www.example"); err == nil {
					return
				}
			}
			t.Errorf("the server is back and is not asked: %v", err)
		})
	}
}

// TestTwoLookups: of two lookups at once that find different addresses the first to end
// holds, because its addresses are being tried.
func TestTwoLookups(t *testing.T) {
	var to *target
	first := true
	o := &Options{Lookup: func(ctx context.Context, _ string) ([]netip.Addr, error) {
		if !first {
			return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("192.0.2.2")}, nil
		}
		first = false
		if err := to.prepare(ctx); err != nil {
			t.Error(err)
		}
		to.tried(0, errors.New("dead"))
		return []netip.Addr{netip.MustParseAddr("192.0.2.3")}, nil
	}}
	to, err := newTarget("example.com", "53", o.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	if err := to.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if addrs, at := to.now(); len(addrs) != 2 || at != 1 || !addrs[0].Is4() {
		t.Errorf("%v, of which %d is the first", addrs, at)
	}
}

// TestFullPipe: who asks a server that reads nothing is told so in its own time, although
// another is stuck in a Write that has more; and the end of that one's context ends it.
func TestFullPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &Options{Timeout: -1, Dialer: dialFunc(func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			t.Cleanup(func() { far.Close() })
			return near, nil
		})}
		u, err := ParseUpstream("tcp://192.0.2.1", o)
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		stuck, cancel := context.WithCancel(t.Context())
		var g sync.WaitGroup
		g.Go(func() {
			if _, err := exchangeIn(t, stuck, u, "stuck.example"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		began := time.Now()
		ctx, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		if _, err := exchangeIn(t, ctx, u, "www.example"); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		cancel()
		g.Wait()
	})
}

// TestDeadAddress: a server whose first address swallows everything is asked at the other.
func TestDeadAddress(t *testing.T) {
	for _, scheme := range schemes[1:] {
		t.Run(scheme, func(t *testing.T) {
			r := start(t, scheme, "", www)
			r.url = strings.Replace(r.url, "127.0.0.1", "example.com", 1)
			r.options.Lookup = func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}, nil
			}
			r.options.Dialer = dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "127.0.0.2:") {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return new(direct.Dialer).DialContext(ctx, network, address)
			})
			r.options.Timeout = time.Second
			mustExchange(t, r.upstream(t), "www.example")
		})
	}
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// stuckSocket is one of an outbound that sends datagrams over a stream which is full.
type stuckSocket struct {
	net.PacketConn
	past chan struct{}
	once sync.Once
}

func (s *stuckSocket) WriteTo([]byte, net.Addr) (int, error) {
	<-s.past
	return 0, os.ErrDeadlineExceeded
}

func (s *stuckSocket) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() && !t.After(time.Now()) {
		s.once.Do(func() { close(s.past) })
	}
	return nil
}

func (s *stuckSocket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetWriteDeadline(t), s.SetReadDeadline(t))
}

type stuckListener struct{}

func (stuckListener) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	pc, err := new(direct.Dialer).ListenPacket(ctx, network, address)
	return &stuckSocket{PacketConn: pc, past: make(chan struct{})}, err
}

// TestStuckSocket: a question ends in its time also if it cannot be sent.
func TestStuckSocket(t *testing.T) {
	u, err := ParseUpstream("udp://127.0.0.1:9", &Options{PacketListener: stuckListener{}, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	var op *net.OpError
	if _, err := exchange(t, u, "www.example"); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &op) {
		t.Error(err)
	}
}
