package flow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestCauseOf(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want Cause
	}{
		{nil, Closed},
		{io.EOF, Closed},
		{Idle, Idle},
		{fmt.Errorf("relay: %w: %w", Policy, syscall.EACCES), Policy},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, ResetByClient},
		{context.DeadlineExceeded, TimedOut},
		{os.ErrDeadlineExceeded, TimedOut},
		{syscall.EHOSTUNREACH, DialFailed},
		{syscall.EPERM, Policy},
		{net.ErrClosed, Closed},
		{errors.New("anything else"), Reset},
	} {
		if got := CauseOf(tc.err); got != tc.want {
			t.Errorf("CauseOf(%v) = %q, want %q", tc.err, got, tc.want)
		}
	}
}

type fake struct{ id ID }

func (f fake) FlowInfo() Info { return Info{ID: f.id} }
func (f fake) Kill(error)     {}

func TestRegistry(t *testing.T) {
	var opened, closed []ID
	r := NewRegistry(Trace{
		Open:  func(i Info) { opened = append(opened, i.ID) },
		Close: func(i Info) { closed = append(closed, i.ID) },
	})
	if r.Len() != 0 {
		t.Fatal("a new registry is not empty")
	}
	a, b := r.NextID(), r.NextID()
	r.Add(a, fake{a})
	r.Add(b, fake{b})
	if r.Len() != 2 || len(opened) != 2 {
		t.Fatalf("Len = %d, opened %v", r.Len(), opened)
	}
	if f, ok := r.Get(b); !ok || f.FlowInfo().ID != b {
		t.Fatalf("Get(%d) = %v, %v", b, f, ok)
	}
	for f := range r.All() {
		r.Remove(f.FlowInfo().ID, f.FlowInfo()) // no lock is held during a step
	}
	r.Remove(a, Info{ID: a})
	if len(closed) != 2 {
		t.Fatalf("closed reported %v, want each once", closed)
	}
	if r.Len() != 0 {
		t.Fatalf("%d flows after the last Remove", r.Len())
	}
}

// TestRegistryOrder: a flow that ends while it is being opened is closed after.
func TestRegistryOrder(t *testing.T) {
	var events []string
	var r *Registry
	r = NewRegistry(Trace{
		Open: func(i Info) {
			r.Remove(i.ID, Info{ID: i.ID, Cause: Killed})
			if r.Len() != 0 {
				t.Error("still listed")
			}
			events = append(events, "open")
		},
		Handshake: func(Info) { events = append(events, "handshake") },
		Close:     func(i Info) { events = append(events, "close "+i.Cause.Error()) },
	})
	r.Add(7, fake{7})
	r.Established(fake{7})
	if len(events) != 2 || events[0] != "open" || events[1] != "close killed" {
		t.Fatalf("callbacks %v", events)
	}
	r.trace.Open = nil
	r.trace.Handshake = func(i Info) {
		r.Remove(i.ID, Info{ID: i.ID, Cause: Killed})
		events = append(events, "handshake")
	}
	r.Add(8, fake{8})
	r.Established(fake{8})
	if len(events) != 4 || events[2] != "handshake" || events[3] != "close killed" {
		t.Fatalf("callbacks %v", events)
	}
}
