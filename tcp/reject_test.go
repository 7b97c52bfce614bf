package tcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

var rejections = []struct {
	err  error
	want answer
}{
	{nil, reset},
	{syscall.ECONNREFUSED, reset},
	{errors.New("something else"), reset},
	{flow.Policy, reset},
	{syscall.EHOSTUNREACH, hostUnreachable},
	{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, hostUnreachable},
	{syscall.ENETUNREACH, netUnreachable},
	{syscall.EACCES, prohibited},
	{syscall.EPERM, prohibited},
	{fmt.Errorf("%w: %w", flow.Policy, syscall.EACCES), prohibited},
	{os.ErrDeadlineExceeded, silence},
	{context.DeadlineExceeded, silence},
	{syscall.ETIMEDOUT, silence},
}

func TestReject(t *testing.T) {
	for _, tc := range rejections {
		for _, p := range []*packet.Packet{syn(clientA, server, 77), syn(client6, server6, 78)} {
			synctest.Test(t, func(t *testing.T) {
				r := newSYNRig(t, Config{LazyHandshake: true})
				a := r.listen()
				r.table.HandleSYN(p)
				s, _ := a.AcceptStream(t.Context())
				if err := s.Reject(tc.err); err != nil {
					t.Fatal(err)
				}
				if got := r.answerSent(p); got != tc.want {
					t.Errorf("%v: answer %d, want %d", tc.err, got, tc.want)
				}
				r.held(0, 0, 0)
				r.counted(drop.Rejected, 1)
				if n := r.table.Stats().Remembered; n != 1 {
					t.Errorf("%d remembered", n)
				}
				// Its retransmission is answered alike, and is no new stream.
				memory := time.Second
				if tc.want == silence {
					memory = 30 * time.Second
				}
				time.Sleep(memory - time.Millisecond)
				r.table.HandleSYN(p)
				if got := r.answerSent(p); got != tc.want {
					t.Errorf("%v: second answer %d, want %d", tc.err, got, tc.want)
				}
				r.counted(drop.RejectedAgain, 1)
				r.held(0, 0, 0)
				// Another SYN of the same client is, and so is one that comes later.
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				if n := r.table.Stats().Remembered; n != 0 {
					t.Errorf("%d remembered after %v", n, memory)
				}
				r.table.HandleSYN(p)
				r.held(1, 1, 1)
				r.counted(drop.RejectedAgain, 1)
				r.table.Close(flow.Shutdown)
			})
		}
	}
}

func TestNewAttemptAfterRejection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.listen()
		r.table.HandleSYN(syn(clientA, server, 1))
		s, _ := a.AcceptStream(t.Context())
		_ = s.Reject(syscall.ETIMEDOUT)
		r.table.HandleSYN(syn(clientA, server, 2))
		r.held(1, 1, 1)
		r.counted(drop.RejectedAgain, 0)
		if n := r.table.Stats().Remembered; n != 0 {
			t.Errorf("%d remembered", n)
		}
		r.table.Close(flow.Shutdown)
	})
}

func TestCloseBeforeHandshakeRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.listen()
		p := syn(clientA, server, 1)
		r.table.HandleSYN(p)
		s, _ := a.AcceptStream(t.Context())
		_ = s.Close()
		_ = s.Close()
		if got := r.answerSent(p); got != reset {
			t.Errorf("answer %d", got)
		}
		if err := s.Handshake(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Handshake: %v", err)
		}
		r.counted(drop.Rejected, 1)
		r.held(0, 0, 0)
		r.table.Close(flow.Shutdown)
	})
}

// TestCloseDuringHandshake ends the engine's handshake.
func TestCloseDuringHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true})
		a := r.listen()
		r.table.HandleSYN(syn(clientA, server, 1))
		s, _ := a.AcceptStream(t.Context())
		failed := make(chan error)
		go func() { failed <- s.Handshake(t.Context()) }() // awaited below
		synctest.Wait()
		r.held(1, 1, 0)
		_ = s.Close()
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Handshake: %v", err)
		}
		r.held(0, 0, 0)
		r.table.Close(flow.Shutdown)
	})
}

func TestRememberedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSYNRig(t, Config{LazyHandshake: true, MaxHandshakes: 8})
		a := r.listen()
		for i := range 20 {
			r.table.HandleSYN(syn(from("10.0.0.1", i), server, 1))
			s, _ := a.AcceptStream(t.Context())
			err := error(syscall.ETIMEDOUT)
			if i%3 == 0 {
				err = nil
			}
			_ = s.Reject(err)
			if n := r.table.Stats().Remembered; n != min(i+1, 8) {
				t.Fatalf("%d remembered after %d rejections", n, i+1)
			}
		}
		if n := r.requests(); n != 8 {
			t.Errorf("%d requests in the table", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.requests() + r.table.Stats().Remembered; n != 0 {
			t.Errorf("%d left", n)
		}
		r.table.Close(flow.Shutdown)
	})
}

// TestKeepSYN strips what the engine's transport layer does not take.
func TestKeepSYN(t *testing.T) {
	plain4 := syn(clientA, server, 5)
	withOptions := append(append(append([]byte(nil), plain4.Raw[:20]...), 1, 1, 1, 0), plain4.Raw[20:]...)
	withOptions[0] = 0x46
	binary.BigEndian.PutUint16(withOptions[2:], uint16(len(withOptions)))
	binary.BigEndian.PutUint16(withOptions[10:], 0)
	binary.BigEndian.PutUint16(withOptions[10:], ^packet.Checksum(withOptions[:24], 0))

	plain6 := syn(client6, server6, 6)
	withExtension := append(append(append([]byte(nil), plain6.Raw[:40]...), 6, 0, 1, 4, 0, 0, 0, 0), plain6.Raw[40:]...)
	withExtension[6] = 60 // destination options
	binary.BigEndian.PutUint16(withExtension[4:], uint16(len(withExtension)-40))

	for _, raw := range [][]byte{plain4.Raw, withOptions, plain6.Raw, withExtension} {
		var p, kept packet.Packet
		if c := p.Decode(raw); c != drop.None || !p.ChecksumOK() {
			t.Fatalf("test packet: %v", c)
		}
		b := keepSYN(&p)
		if &b[0] == &raw[0] {
			t.Error("not a copy")
		}
		if c := kept.Decode(b); c != drop.None || !kept.ChecksumOK() || kept.Options {
			t.Errorf("kept packet: %v, options %v", c, kept.Options)
		}
		if kept.SrcAddrPort() != p.SrcAddrPort() || kept.DstAddrPort() != p.DstAddrPort() || kept.Seq != p.Seq || string(kept.TCPOptions()) != string(p.TCPOptions()) {
			t.Error("another SYN was kept")
		}
	}
}

func TestRejectOfALostSYNIsHarmless(t *testing.T) {
	var sent sentPackets
	env := &Env{Out: &sent}
	for _, b := range [][]byte{nil, {0x45}, make([]byte, 40)} {
		env.sendAnswerTo(b, reset)
	}
	if n := len(sent.take()); n != 0 {
		t.Errorf("%d answers to nothing", n)
	}
}
