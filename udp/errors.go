package udp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

// The operations that stand in the Op field of a *net.OpError.
const (
	opRead   = "read"
	opWrite  = "write"
	opAccept = "accept"
	opListen = "listen"
	opDial   = "dial"
	opSet    = "set"
	opReject = "reject"
)

const network = "udp"

// TruncatedError says that a datagram was longer than the buffer it was read
// into. What fitted was delivered, the rest is gone. It matches
// syscall.EMSGSIZE (what Windows says) and io.ErrShortBuffer.
type TruncatedError struct {
	Size int // of the whole payload, in bytes
}

// Error implements error.
func (e *TruncatedError) Error() string {
	return fmt.Sprintf("datagram of %d bytes truncated to fit the buffer", e.Size)
}

// Is implements the matching of errors.Is.
func (e *TruncatedError) Is(target error) bool {
	return target == syscall.EMSGSIZE || target == io.ErrShortBuffer
}

// toldError is an ICMP error that a client's network has answered with: the errno that
// a kernel makes of it, and beside that an *icmp.Error.
type toldError struct {
	errno syscall.Errno
	fault packet.Fault
}

func (e *toldError) Error() string   { return e.errno.Error() }
func (e *toldError) Unwrap() []error { return []error{e.errno, &e.fault} }

// endedError is what the calls on an ended Socket find: it matches
// net.ErrClosed and the reason for the end.
type endedError struct{ cause error }

func (e *endedError) Error() string {
	return "use of closed network connection: " + e.cause.Error()
}

func (e *endedError) Unwrap() []error { return []error{net.ErrClosed, e.cause} }

// closedError is the error of calls after an end with cause.
func closedError(cause error) error {
	if cause == error(flow.Closed) { // closed by its own user, who knows
		return net.ErrClosed
	}
	return &endedError{cause}
}

// causeError joins the cause of a flow's end with the error that told of it.
type causeError struct {
	cause flow.Cause
	err   error
}

func (e *causeError) Error() string   { return string(e.cause) + ": " + e.err.Error() }
func (e *causeError) Unwrap() []error { return []error{e.cause, e.err} }

// causeOf returns an error that carries a flow.Cause: err, if it has one, or
// one that matches both err and the cause that fits it best. nil stands for def.
func causeOf(err error, def flow.Cause) error {
	if err == nil {
		return def
	}
	var c flow.Cause
	if errors.As(err, &c) {
		return err
	}
	return &causeError{flow.CauseOf(err), err}
}

// opError dresses err for the user; addr is the other end that was named in the
// call, if any.
func (s *Socket) opError(op string, addr net.Addr, err error) error {
	if addr == nil {
		addr = s.RemoteAddr()
	}
	return &net.OpError{Op: op, Net: network, Source: s.LocalAddr(), Addr: addr, Err: err}
}

// addrOf returns a as a net.Addr; an invalid one is nil.
func addrOf(a netip.AddrPort) net.Addr {
	if !a.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(a)
}
