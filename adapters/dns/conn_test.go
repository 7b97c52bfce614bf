package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"l3extract/adapters/outbound"
)

func dial(t testing.TB, s *Server, src netip.AddrPort) net.Conn {
	t.Helper()
	ctx := outbound.WithFlow(t.Context(), outbound.Flow{Network: "tcp", Source: src, Destination: server})
	c, err := s.DialContext(ctx, "tcp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// framed are queries as they go over a connection.
func framed(t testing.TB, ms ...*dns.Msg) (b []byte) {
	t.Helper()
	for _, m := range ms {
		p := packed(t, m)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	return b
}

// readOne reads an answer.
func readOne(t testing.TB, c net.Conn) *dns.Msg {
	t.Helper()
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConn(t *testing.T) {
	s := newServer(t, &Config{Upstream: zone("www.example. 60 IN A 192.0.2.1")})
	c := dial(t, s, alice)
	if c.LocalAddr().String() != alice.String() || c.RemoteAddr().String() != server.String() {
		t.Errorf("%v %v", c.LocalAddr(), c.RemoteAddr())
	}
	q := question("www.example", dns.TypeA)
	for _, cut := range []int{1, 2, 3, 20, 1000} { // queries may come in pieces
		b := framed(t, q, q, q)
		for len(b) > 0 {
			n, err := c.Write(b[:min(cut, len(b))])
			if err != nil {
				t.Fatal(err)
			}
			b = b[n:]
		}
		for range 3 {
			if m := readOne(t, c); m.Id != q.Id || len(m.Answer) != 1 {
				t.Errorf("got\n%v", m)
			}
		}
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read after the end: %v", err)
	}
	if _, err := c.Write(framed(t, q)); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	c.Close()
	if err := c.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	var op *net.OpError
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) || !errors.As(err, &op) {
		t.Errorf("read after Close: %v", err)
	}
	if _, err := c.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	if st := s.Stats(); st.Conns != 0 || st.Streamed != 15 || st.ConnsOpened != 1 {
		t.Errorf("%+v", st)
	}
}

// TestPipelining: answers come in the order of their upstream, all queries at once.
func TestPipelining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &stub{answer: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
			var n int
			fmt.Sscanf(q.Question[0].Name, "h%d.", &n)
			time.Sleep(time.Duration(50-n) * time.Millisecond)
			return inZone(q, nil), nil
		}}
		s := newServer(t, &Config{Upstream: up})
		c := dial(t, s, alice)
		for i := range 50 {
			m := question(fmt.Sprintf("h%d", i), dns.TypeA)
			m.Id = uint16(i)
			if _, err := c.Write(framed(t, m)); err != nil {
				t.Fatal(err)
			}
		}
		c.(*conn).CloseWrite()
		began := time.Now()
		for i := range 50 {
			if m := readOne(t, c); m.Id != uint16(49-i) {
				t.Fatalf("answer %d is to %d", i, m.Id)
			}
		}
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%v", err)
		}
	})
}

// TestWriteWaits: a client that pipelines without end, or never reads, holds bounded
// memory, and its Write obeys deadlines and Close.
func TestWriteWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, open := gate()
		s := newServer(t, &Config{Upstream: up, QueryTimeout: -1})
		c := dial(t, s, alice)
		write := func() (n int, err error) {
			for err == nil && n < 10000 {
				_, err = c.Write(framed(t, question(fmt.Sprintf("h%d", n), dns.TypeA)))
				n++
			}
			return n - 1, err
		}
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := write(); n != maxPipelined || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d queries, then %v", n, err)
		}
		for range maxPipelined {
			open <- nil
		}
		own := newServer(t, &Config{Fake: newPool(t, nil)})
		c = dial(t, own, alice)
		done := make(chan error)
		go func() { // awaited below
			n, err := write()
			if n < 1000 || n > 5000 {
				err = fmt.Errorf("%d queries taken: %w", n, err)
			}
			done <- err
		}()
		synctest.Wait()
		if n := len(c.(*conn).out); n < maxUnread || n > maxUnread+1000 {
			t.Errorf("%d bytes wait for a client that does not read", n)
		}
		c.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestConnDeadlinesAndIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, &Config{Upstream: zone()})
		c := dial(t, s, alice)
		b := make([]byte, 1)
		_ = c.SetDeadline(time.Now().Add(time.Second))
		began := time.Now()
		if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		// Moved while somebody waits.
		_ = c.SetDeadline(time.Time{})
		go func() { // ends before the Read below does
			time.Sleep(time.Second)
			_ = c.SetReadDeadline(time.Now().Add(-time.Second))
		}()
		if _, err := c.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		_ = c.SetDeadline(time.Time{})
		if _, err := c.Write(framed(t, question("x", dns.TypeA))); err != nil {
			t.Fatal(err)
		}
		readOne(t, c)
		began = time.Now()
		if _, err := c.Write([]byte{0}); err != nil { // half a query is no reason to wait longer
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != io.EOF || time.Since(began) != DefaultConnIdleTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := c.Write([]byte{0}); !errors.Is(err, syscall.EPIPE) {
			t.Error(err)
		}
		if st := s.Stats(); st.ConnsIdle != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestConnNonsense(t *testing.T) {
	s := newServer(t, &Config{Upstream: zone()})
	for name, b := range map[string]string{
		"length zero": "\x00\x00", "too long": "\xff\xff", "a response": string(framed(t, new(dns.Msg).SetReply(question("x", dns.TypeA)))),
	} {
		c := dial(t, s, alice)
		before := s.Stats().Malformed
		_, werr := c.Write([]byte(b))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: %v, then %v", name, werr, err)
		}
		if s.Stats().Malformed != before+1 {
			t.Errorf("%s: not counted", name)
		}
	}
	if _, err := s.DialContext(t.Context(), "udp", server.String()); err == nil {
		t.Error("dialled udp")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.DialContext(ctx, "tcp", server.String()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestTooManyConns(t *testing.T) {
	s := newServer(t, &Config{Upstream: zone(), MaxConns: 6, MaxConnsPerSource: 4})
	for range 4 {
		dial(t, s, alice)
	}
	refused := func(src netip.AddrPort) {
		t.Helper()
		ctx := outbound.WithFlow(t.Context(), outbound.Flow{Source: src})
		if c, err := s.DialContext(ctx, "tcp", server.String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v %v", c, err)
		}
	}
	refused(alice)
	dial(t, s, bob)
	c := dial(t, s, bob)
	refused(bob)
	c.Close()
	dial(t, s, bob)
	if len(s.conns) != 6 {
		t.Errorf("%d connections are held", len(s.conns))
	}
	if st := s.Stats(); st.Conns != 6 || st.ConnsRefused != 2 {
		t.Errorf("%+v", st)
	}
}

// TestIdleConnHasNoGoroutine holds for a thousand of them.
func TestIdleConnHasNoGoroutine(t *testing.T) {
	s := newServer(t, &Config{Upstream: zone(), MaxConns: -1, MaxConnsPerSource: -1})
	before := runtime.NumGoroutine()
	q := framed(t, question("x", dns.TypeA))
	for range 1000 {
		c := dial(t, s, alice)
		if _, err := c.Write(q); err != nil {
			t.Fatal(err)
		}
		readOne(t, c)
	}
	if n := runtime.NumGoroutine() - before; n > 10 {
		t.Errorf("%d goroutines for 1000 idle connections", n)
	}
	s.Close()
	if st := s.Stats(); st.Conns != 0 {
		t.Errorf("%+v", st)
	}
}

// FuzzConn: bytes in any pieces are taken or refused, and what is read is well-formed.
func FuzzConn(f *testing.F) {
	f.Add(framed(f, question("www.example", dns.TypeA), question("x", dns.TypeMX)), 7)
	f.Add([]byte("\x00\x00\x00\x01"), 1)
	s := newServer(f, &Config{Fake: newPool(f, nil)})
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		cut = max(cut, 1)
		c := dial(t, s, alice)
		go func() { // ends when the loop below has read everything
			for len(b) > 0 {
				n, err := c.Write(b[:min(cut, len(b))])
				if err != nil {
					break
				}
				b = b[n:]
			}
			_ = c.(*conn).CloseWrite()
		}()
		for {
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				if err != io.EOF {
					t.Fatal(err)
				}
				return
			}
			p := make([]byte, binary.BigEndian.Uint16(size[:]))
			var m dns.Msg
			if _, err := io.ReadFull(c, p); err != nil || m.Unpack(p) != nil {
				t.Fatalf("%v %x", err, p)
			}
		}
	})
}
