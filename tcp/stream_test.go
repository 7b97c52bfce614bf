package tcp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/nettest"

	"l3extract/internal/flow"
)

// TestConn is the contract of net.Conn, dialled and accepted ends, with the
// handshake done before and by the first call, with the write buffer and without.
func TestConn(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		lazy bool
	}{
		{"eager", Config{}, false},
		{"eager unbuffered", Config{WriteBuffer: -1}, false},
		{"lazy", Config{}, true},
		{"lazy unbuffered", Config{WriteBuffer: -1}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.cfg)
			turn := 0
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				var accepted, dialled *Stream
				if tc.lazy {
					var wait <-chan result
					accepted, wait = r.pending()
					accepted.beginHandshake()
					got := <-wait
					if got.err != nil {
						return nil, nil, nil, got.err
					}
					dialled = got.s
				} else {
					accepted, dialled = r.pair()
				}
				stop = func() { accepted.Close(); dialled.Close() }
				if turn++; turn%2 == 0 {
					return dialled, accepted, stop, nil
				}
				return accepted, dialled, stop, nil
			})
		})
	}
}

func TestEnds(t *testing.T) {
	r := newRig(t, Config{})
	for range 2 {
		accepted, dialled := r.pair()
		for _, s := range []*Stream{accepted, dialled} {
			local, remote := s.Destination(), s.Source()
			if s.Dialed() {
				local, remote = remote, local
			}
			for range 2 {
				if got := s.LocalAddr().(*net.TCPAddr).AddrPort(); got != local {
					t.Errorf("LocalAddr %v, want %v", got, local)
				}
				if got := s.RemoteAddr().(*net.TCPAddr).AddrPort(); got != remote {
					t.Errorf("RemoteAddr %v, want %v", got, remote)
				}
				s.Reset()
			}
		}
		if accepted.Source() != dialled.Source() || accepted.Destination() != dialled.Destination() {
			t.Error("the two ends disagree")
		}
	}
}

// TestHalfClose ends one direction after the other, both ways round.
func TestHalfClose(t *testing.T) {
	r := newRig(t, Config{})
	for range 2 {
		a, b := r.pair()
		for _, dir := range [][2]*Stream{{a, b}, {b, a}} {
			from, to := dir[0], dir[1]
			if _, err := from.Write([]byte("last words")); err != nil {
				t.Fatal(err)
			}
			if err := from.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(to)
			if string(got) != "last words" || err != nil {
				t.Fatalf("read %q, %v", got, err)
			}
			if n, err := to.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Fatalf("after EOF: %d, %v", n, err)
			}
		}
		// Both sides are done, and nobody has called Close.
		if got := cause(t, a); got != flow.Closed {
			t.Errorf("cause %v", got)
		}
		if got := cause(t, b); got != flow.Closed {
			t.Errorf("cause %v", got)
		}
		a.Close()
		b.Close()
	}
}

// TestInfoAndContext follow a flow to its end.
func TestInfoAndContext(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.pair()
	if f, ok := r.a.env.Flows.Get(a.ID()); !ok || f != flow.Flow(a) {
		t.Fatal("the stream is not in the list of flows")
	}
	if a.Context().Err() != nil {
		t.Fatal("the context of an open flow has ended")
	}
	msg := bytes.Repeat([]byte("x"), 100_000)
	go func() { b.Write(msg); b.CloseWrite() }() // ends with the ReadAll below
	if got, err := io.ReadAll(a); len(got) != len(msg) || err != nil {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if _, err := a.Write([]byte("ok")); err != nil {
		t.Fatal(err)
	}
	i := a.Info()
	if i.State != "CLOSE-WAIT" || i.BytesIn != 100_000 || i.BytesOut != 2 || i.Cause != nil || i.Receive < 64<<10 ||
		i.Buffered != 16<<10 || i.ID != a.ID() || !i.Ended.IsZero() || i.Opened.IsZero() || i.SegmentsIn == 0 {
		t.Errorf("open: %+v", i)
	}
	a.Close()
	if got, err := io.ReadAll(b); string(got) != "ok" || err != nil {
		t.Errorf("the other way: %q, %v", got, err)
	}
	if got := cause(t, a); got != flow.Closed {
		t.Errorf("cause %v", got)
	}
	b.Close()
	if i := a.Info(); i.Cause != flow.Closed || i.Ended.IsZero() || i.BytesIn != 100_000 || i.State != "CLOSED" {
		t.Errorf("closed: %+v", i)
	}
	if _, ok := r.a.env.Flows.Get(a.ID()); ok {
		t.Error("the stream is still in the list of flows")
	}
	if err := context.Cause(a.Context()); err != flow.Closed {
		t.Errorf("cause of a context asked for late: %v", err)
	}
}

// TestErrors holds each method of each kind of end against the causes that callers
// look for.
func TestErrors(t *testing.T) {
	ops := map[string]func(s *Stream) error{
		"Read":       func(s *Stream) error { _, err := s.Read(make([]byte, 8)); return err },
		"Write":      func(s *Stream) error { _, err := s.Write([]byte("x")); return err },
		"big Write":  func(s *Stream) error { _, err := s.Write(make([]byte, 1<<20)); return err },
		"Flush":      func(s *Stream) error { return s.Flush() },
		"WriteTo":    func(s *Stream) error { _, err := s.WriteTo(io.Discard); return err },
		"ReadFrom":   func(s *Stream) error { _, err := s.ReadFrom(bytes.NewReader([]byte("x"))); return err },
		"Peek":       func(s *Stream) error { _, err := s.Peek(make([]byte, 8)); return err },
		"Discard":    func(s *Stream) error { _, err := s.Discard(8); return err },
		"CloseRead":  func(s *Stream) error { return s.CloseRead() },
		"CloseWrite": func(s *Stream) error { return s.CloseWrite() },
		"SetNoDelay": func(s *Stream) error { return s.SetNoDelay(true) },
		"WriteBuffers": func(s *Stream) error {
			_, err := s.WriteBuffers(&net.Buffers{[]byte("x"), []byte("y")})
			return err
		},
	}
	reading := map[string]bool{"Read": true, "WriteTo": true, "Peek": true, "Discard": true}
	for _, tc := range []struct {
		name string
		end  func(t *testing.T, s, peer *Stream)
		want func(op string) []error // nil: no error
	}{
		{"own Close", func(t *testing.T, s, _ *Stream) { s.Close() },
			func(string) []error { return []error{net.ErrClosed} }},
		{"own Reset", func(t *testing.T, s, _ *Stream) { s.Reset() },
			func(string) []error { return []error{net.ErrClosed, flow.Reset} }},
		{"Kill", func(t *testing.T, s, _ *Stream) { s.Kill(flow.Policy) },
			func(string) []error { return []error{net.ErrClosed, flow.Policy} }},
		{"peer's RST", func(t *testing.T, s, peer *Stream) { peer.Reset(); cause(t, s) },
			func(op string) []error {
				if op == "CloseRead" || op == "SetNoDelay" {
					return nil
				}
				return []error{errno.reset}
			}},
		{"CloseWrite", func(t *testing.T, s, peer *Stream) { s.CloseWrite(); peer.Close(); io.ReadAll(s) },
			func(op string) []error {
				switch {
				case reading[op] && op != "WriteTo":
					return []error{io.EOF}
				case op == "Write", op == "big Write", op == "ReadFrom", op == "WriteBuffers":
					return []error{errno.pipe}
				}
				return nil
			}},
		{"CloseRead", func(t *testing.T, s, _ *Stream) { s.CloseRead() },
			func(op string) []error {
				if reading[op] {
					return []error{net.ErrClosed}
				}
				return nil
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, Config{})
			for op, call := range ops {
				s, peer := r.pair()
				if op == "big Write" {
					go io.Copy(io.Discard, peer) // ends with the connection
				}
				tc.end(t, s, peer)
				for range 2 { // for ever
					err := call(s)
					want := tc.want(op)
					if len(want) == 0 && err != nil {
						t.Errorf("%s: %v", op, err)
					}
					for _, w := range want {
						if !errors.Is(err, w) {
							t.Errorf("%s: %v, want %v", op, err, w)
						}
					}
					var oe *net.OpError
					if err != nil && err != io.EOF && (!errors.As(err, &oe) || oe.Source == nil || oe.Addr == nil) {
						t.Errorf("%s: %#v is no complete *net.OpError", op, err)
					}
					var te net.Error
					if errors.As(err, &te) && te.Timeout() {
						t.Errorf("%s: Timeout() of %v", op, err)
					}
				}
				s.Reset()
				peer.Reset()
			}
		})
	}
}

func TestSegmentSize(t *testing.T) {
	for _, tc := range []struct {
		mtu  int
		addr string
		want int
	}{{1500, "192.0.2.1", 1420}, {1500, "2001:db8::1", 1400}, {1280, "::ffff:192.0.2.1", 1200}, {20, "192.0.2.1", 1}} {
		if got := segmentSize(tc.mtu, netip.MustParseAddr(tc.addr)); got != tc.want {
			t.Errorf("segmentSize(%d, %s) = %d, want %d", tc.mtu, tc.addr, got, tc.want)
		}
	}
}
