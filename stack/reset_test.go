package stack

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"l3extract/internal/packet"
	"l3extract/l3conn"
	"l3extract/tcp"
)

// duo is one established connection between two stacks, both ends as Streams.
func duo(t testing.TB, cfg Config) (dialled, accepted *tcp.Stream, client, server *Stack) {
	t.Helper()
	client, server = pair(t, cfg, cfg)
	a, b, err := connect(client, server)
	if err != nil {
		t.Fatal(err)
	}
	return a.(*tcp.Stream), b.(*tcp.Stream), client, server
}

// op is one way to meet an error of a stream.
type op struct {
	name string
	do   func(s *tcp.Stream) error
}

var readOps = []op{
	{"Read", func(s *tcp.Stream) error { _, err := s.Read(make([]byte, 1)); return err }},
	{"WriteTo", func(s *tcp.Stream) error { _, err := s.WriteTo(io.Discard); return err }},
	{"Peek", func(s *tcp.Stream) error { _, err := s.Peek(make([]byte, 1)); return err }},
}

var writeOps = []op{
	{"Write", func(s *tcp.Stream) error { _, err := s.Write(make([]byte, 1)); return err }},
	{"Flush", func(s *tcp.Stream) error { return s.Flush() }},
	{"ReadFrom", func(s *tcp.Stream) error { _, err := s.ReadFrom(bytes.NewReader(make([]byte, 1<<20))); return err }},
}

// check calls every op twice, so that nobody gets the error at another's cost.
func check(t *testing.T, s *tcp.Stream, ops []op, want error, timeout bool) {
	t.Helper()
	for range 2 {
		for _, o := range ops {
			err := o.do(s)
			var ne net.Error
			var oe *net.OpError
			switch {
			case !errors.Is(err, want):
				t.Errorf("%s: %v, want %v", o.name, err, want)
			case !errors.As(err, &oe):
				t.Errorf("%s: %T is no *net.OpError", o.name, err)
			case !errors.As(err, &ne) || ne.Timeout() != timeout:
				t.Errorf("%s: Timeout() of %v is not %v", o.name, err, timeout)
			}
		}
	}
}

// untilReset blocks until the peer's RST has arrived.
func untilReset(t *testing.T, s *tcp.Stream) {
	t.Helper()
	select {
	case <-s.Context().Done():
	case <-soon(t).Done():
		t.Fatal("the reset did not arrive")
	}
}

// TestResetNeverReadsAsEOF: whoever asks first, reader or writer, and both at
// once, all get ECONNRESET for ever; what came before the reset stays readable.
func TestResetNeverReadsAsEOF(t *testing.T) {
	orders := [][]op{append(readOps, writeOps...), append(writeOps, readOps...)}
	for i, ops := range orders {
		a, b, _, _ := duo(t, Config{})
		if _, err := a.Write([]byte("before")); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Peek(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		_ = a.Reset()
		if i == 0 {
			got := make([]byte, 6)
			if _, err := io.ReadFull(b, got); err != nil || string(got) != "before" {
				t.Fatalf("before the reset: %q, %v", got, err)
			}
			if _, err := b.Read(got); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("read: %v", err)
			}
		} else {
			if err := eventually(t, b, func() error { _, err := b.Write([]byte("x")); return err }); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("write: %v", err)
			}
			got := make([]byte, 6)
			if _, err := io.ReadFull(b, got); err != nil || string(got) != "before" {
				t.Fatalf("before the reset: %q, %v", got, err)
			}
		}
		check(t, b, ops, syscall.ECONNRESET, false)
	}
	t.Run("at once", func(t *testing.T) {
		for range 20 {
			a, b, c, s := duo(t, Config{})
			errs := make(chan error, 2)
			go func() { _, err := io.Copy(io.Discard, b); errs <- err }()
			go func() {
				buf := make([]byte, 64<<10)
				for {
					if _, err := b.Write(buf); err != nil {
						errs <- err
						return
					}
				}
			}()
			_, _ = a.Read(make([]byte, 1<<10))
			_ = a.Reset()
			for range 2 {
				if err := <-errs; !errors.Is(err, syscall.ECONNRESET) {
					t.Fatalf("got %v", err)
				}
			}
			_ = c.Close()
			_ = s.Close()
		}
	})
}

// eventually repeats f until it fails.
func eventually(t *testing.T, s *tcp.Stream, f func() error) error {
	t.Helper()
	ctx := soon(t)
	for ctx.Err() == nil {
		if err := f(); err != nil {
			return err
		}
	}
	t.Fatal("no error came")
	return nil
}

// TestErrors: each row comes from a real event.
func TestErrors(t *testing.T) {
	all := append(append([]op{}, readOps...), writeOps...)
	t.Run("own Close", func(t *testing.T) {
		_, b, _, _ := duo(t, Config{})
		_ = b.Close()
		check(t, b, all, net.ErrClosed, false)
	})
	t.Run("own Reset", func(t *testing.T) {
		_, b, _, _ := duo(t, Config{})
		_ = b.Reset()
		check(t, b, all, net.ErrClosed, false)
	})
	t.Run("deadline", func(t *testing.T) {
		_, b, _, _ := duo(t, Config{})
		_ = b.SetDeadline(time.Unix(1, 0))
		check(t, b, append(append([]op{}, readOps...), writeOps[0], writeOps[2]), os.ErrDeadlineExceeded, true)
	})
	t.Run("CloseWrite", func(t *testing.T) {
		_, b, _, _ := duo(t, Config{})
		_ = b.CloseWrite()
		check(t, b, []op{writeOps[0], writeOps[2]}, syscall.EPIPE, false)
	})
	t.Run("FIN", func(t *testing.T) {
		a, b, _, _ := duo(t, Config{})
		_ = a.CloseWrite()
		for range 3 {
			if _, err := b.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("Read: %v, want bare EOF", err)
			}
		}
	})
	t.Run("RST", func(t *testing.T) {
		a, b, _, _ := duo(t, Config{})
		_ = a.Reset()
		_, _ = b.Read(make([]byte, 1))
		check(t, b, all, syscall.ECONNRESET, false)
		untilReset(t, b) // a flusher ends the flow
		if c := causeOf(b); c != ResetByClient {
			t.Errorf("cause %q", c)
		}
	})
	t.Run("stack closed", func(t *testing.T) {
		_, b, _, s := duo(t, Config{})
		_ = s.Close()
		check(t, b, all, net.ErrClosed, false)
		if _, err := s.TCP().Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
		if _, err := s.DialContext(background, "tcp", "10.0.0.2:1"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("DialContext: %v", err)
		}
	})
	t.Run("conn cut", func(t *testing.T) {
		x, y := l3conn.Pipe(0, 0)
		c, s := pairOn(t, x, y, Config{}, Config{})
		_, bc, err := connect(c, s)
		if err != nil {
			t.Fatal(err)
		}
		b := bc.(*tcp.Stream)
		_ = x.Close()
		untilReset(t, b)
		check(t, b, all, net.ErrClosed, false)
		check(t, b, all, io.EOF, false) // what the conn said
		if c := causeOf(b); c != ConnFailed {
			t.Errorf("cause %q", c)
		}
	})
	t.Run("refused", func(t *testing.T) {
		c, _ := pair(t, Config{}, Config{})
		_, err := c.DialContext(soon(t), "tcp", "10.0.0.1:9")
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Dial: %v", err)
		}
	})
	t.Run("ICMP", func(t *testing.T) {
		for kind, want := range map[packet.Unreachable]error{
			packet.HostUnreachable: syscall.EHOSTUNREACH, packet.NetUnreachable: syscall.ENETUNREACH,
			packet.PortUnreachable: syscall.ECONNREFUSED,
		} {
			x, y := l3conn.Pipe(0, 0)
			c := newStack(t, x, Config{Addrs: clientAddrs})
			go func() {
				b := make([]byte, 1500)
				n, err := y.Read(b)
				if err != nil {
					return
				}
				var p packet.Packet
				_ = p.Decode(b[:n])
				_, _ = y.Write(packet.AppendICMPError(nil, p.Dst, kind, p.Raw, 0))
			}()
			if _, err := c.DialContext(soon(t), "tcp", "198.51.100.7:80"); !errors.Is(err, want) {
				t.Errorf("%v: %v, want %v", kind, err, want)
			}
		}
	})
	t.Run("no address", func(t *testing.T) {
		x, _ := l3conn.Pipe(0, 0)
		s := newStack(t, x, Config{Addrs: clientAddrs[:1]})
		if _, err := s.DialContext(soon(t), "tcp", "[2001:db8::1]:80"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("Dial: %v", err)
		}
	})
	t.Run("context", func(t *testing.T) {
		x, _ := l3conn.Pipe(0, 0)
		s := newStack(t, x, Config{Addrs: clientAddrs})
		ctx, cancel := contextSoonOver(t)
		defer cancel()
		_, err := s.DialContext(ctx, "tcp", "198.51.100.7:80")
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("Dial into a black hole: %v", err)
		}
	})
}
