package hop

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/outbound"
)

// TestFault: what shines through of an error of the way to the proxy.
func TestFault(t *testing.T) {
	p := &Proxy{Protocol: "x", Address: "y:1"}
	deep := errors.New("deep")
	for _, tc := range []struct {
		err     error
		is, not []error
		timeout bool
	}{
		{syscall.ECONNREFUSED, []error{outbound.ErrProxy, syscall.ENETUNREACH}, []error{syscall.ECONNREFUSED}, false},
		{syscall.EACCES, []error{outbound.ErrProxy, syscall.ENETUNREACH}, []error{syscall.EACCES}, false},
		{deep, []error{outbound.ErrProxy, deep}, nil, false},
		{context.Canceled, []error{context.Canceled}, []error{outbound.ErrProxy, syscall.ENETUNREACH}, false},
		{os.ErrDeadlineExceeded, []error{outbound.ErrProxy, os.ErrDeadlineExceeded}, []error{syscall.ENETUNREACH}, true},
		{errTimeout{}, []error{outbound.ErrProxy, os.ErrDeadlineExceeded, context.DeadlineExceeded}, nil, true},
		{Cut(io.EOF), []error{outbound.ErrProxy}, []error{io.EOF}, false},
	} {
		err := OpError("dial", "tcp", "z:2", p.Fault(tc.err))
		for _, want := range tc.is {
			if !errors.Is(err, want) {
				t.Errorf("%v does not match %v", err, want)
			}
		}
		for _, want := range tc.not {
			if errors.Is(err, want) {
				t.Errorf("%v matches %v", err, want)
			}
		}
		var ne net.Error
		if !errors.As(err, &ne) || ne.Timeout() != tc.timeout {
			t.Errorf("%v: Timeout is %v", err, !tc.timeout)
		}
	}
	first := p.Denied("no")
	if p.Fault(first) != first {
		t.Error("an error of the proxy is put into another")
	}
}

// noDeadlines is a conn such as those of SSH.
type noDeadlines struct{ net.Conn }

func (noDeadlines) SetDeadline(time.Time) error { return errors.ErrUnsupported }

// TestWithin: ended by its context, also over what has no deadlines.
func TestWithin(t *testing.T) {
	for _, deadlines := range []bool{true, false} {
		near, _ := ends(t, true)
		c := near
		if !deadlines {
			c = noDeadlines{near}
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := Within(ctx, c, func(c net.Conn) error {
			cancel()
			_, err := c.Read(make([]byte, 1))
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("deadlines %v: %v", deadlines, err)
		}
	}
	near, _ := ends(t, true)
	if err := Within(t.Context(), near, func(net.Conn) error { return nil }); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	err := Within(ctx, near, func(c net.Conn) error {
		_, err := c.Read(make([]byte, 1))
		return err
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want a time-out", err)
	}
}
