package udp

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

// TestWait: it waits for what a read would return, consumes nothing, and fails only
// at the end.
func TestWait(t *testing.T) {
	f := families[0]
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{IdleTimeout: -1})
		s := r.opened(f.client, f.server)
		b := make([]byte, 99)
		read := func(want string) {
			t.Helper()
			if err := s.Wait(); err != nil {
				t.Fatal(err)
			}
			if err := s.Wait(); err != nil { // nothing was consumed
				t.Fatal(err)
			}
			if m, err := s.ReadMsg(b); err != nil || string(m.Payload) != want {
				t.Errorf("read %q, %v, want %q", m.Payload, err, want)
			}
		}
		read("first")

		waited := make(chan error)
		wait := func() { go func() { waited <- s.Wait() }(); synctest.Wait() }
		wait()
		r.receive(f.client, f.server, "second")
		if err := <-waited; err != nil {
			t.Error(err)
		}
		read("second")

		wait()
		if _, err := s.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(f.server)); err != nil {
			t.Fatal(err)
		}
		r.handle(packet.AppendICMPError(nil, f.client.Addr(), packet.PortUnreachable, r.out.take()[0], 0))
		if err := <-waited; err != nil {
			t.Errorf("an ICMP error: %v, want nil and the error at the read", err)
		}
		if _, err := s.ReadMsg(b); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("read: %v, want ECONNREFUSED", err)
		}

		s.SetReadDeadline(time.Now().Add(time.Second))
		if err := s.Wait(); err != nil {
			t.Errorf("a passed deadline: %v, want nil and the error at the read", err)
		}
		_, err := s.ReadMsg(b)
		wantTimeout(t, "ReadMsg", err)
		s.SetReadDeadline(time.Time{})

		wait()
		s.Kill(flow.Evicted)
		if err := <-waited; !errors.Is(err, net.ErrClosed) || !errors.Is(err, flow.Evicted) {
			t.Errorf("after the end: %v", err)
		}
	})
}
