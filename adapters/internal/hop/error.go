package hop

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"l3extract/adapters/outbound"
)

// Error is what went wrong at a proxy. It matches what the client of a flow is to be
// told, and no errno of the connection to the proxy itself: that the proxy refused
// it does not mean that the destination did.
type Error struct {
	Protocol string // "socks5"
	Address  string // of the proxy
	Err      error  // what happened, in words that hold no credential
	Fault    bool   // it is the proxy's, not the destination's: outbound.ErrProxy matches
	Errno    syscall.Errno
}

// Error implements error.
func (e *Error) Error() string { return e.Protocol + " proxy " + e.Address + ": " + e.Err.Error() }

// Is implements what errors.Is asks for.
func (e *Error) Is(target error) bool {
	if target == outbound.ErrProxy {
		return e.Fault
	}
	if errno, ok := target.(syscall.Errno); ok {
		return errno == e.Errno
	}
	return errors.Is(e.Err, target) || e.Errno != 0 && errors.Is(e.Errno, target)
}

// As implements what errors.As asks for.
func (e *Error) As(target any) bool {
	if errno, ok := target.(*syscall.Errno); ok {
		*errno = e.Errno
		return e.Errno != 0
	}
	return errors.As(e.Err, target)
}

// Timeout implements net.Error.
func (e *Error) Timeout() bool { return e.Errno == syscall.ETIMEDOUT || isTimeout(e.Err) }

// Temporary implements net.Error.
func (e *Error) Temporary() bool { return e.Timeout() }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// Fault returns the error of a proxy that did not do its part. Its client sees
// "network unreachable", or silence after a time-out.
func (p *Proxy) Fault(err error) *Error {
	var already *Error
	if errors.As(err, &already) && already.Address == p.Address && already.Protocol == p.Protocol {
		return already
	}
	e := &Error{Protocol: p.Protocol, Address: p.Address, Err: err, Fault: true}
	switch {
	case errors.Is(err, context.Canceled):
		e.Fault = false // nobody's
	case isTimeout(err), errors.Is(err, os.ErrDeadlineExceeded):
	default:
		e.Errno = syscall.ENETUNREACH
	}
	return e
}

// Denied returns the error of a proxy that does not accept its client.
func (p *Proxy) Denied(why string) *Error {
	return &Error{Protocol: p.Protocol, Address: p.Address, Err: errors.New(why), Fault: true, Errno: syscall.EACCES}
}

// Unsupported returns the error of a proxy that cannot do what it is asked for.
func (p *Proxy) Unsupported(why string) *Error {
	return &Error{Protocol: p.Protocol, Address: p.Address, Err: errors.New(why), Fault: true, Errno: syscall.EOPNOTSUPP}
}

// Refused returns what a proxy says of a destination.
func (p *Proxy) Refused(why string, errno syscall.Errno) *Error {
	return &Error{Protocol: p.Protocol, Address: p.Address, Err: errors.New(why), Errno: errno}
}

// Silent tells of an answer of which err is the end: that of a destination, about
// which nothing was heard in time, is not the proxy's fault.
func (p *Proxy) Silent(err error) *Error {
	e := p.Fault(err)
	if e.Timeout() {
		e.Fault = false
	}
	return e
}

// CutError is an answer of a proxy that ended before its end. It matches no cause: that
// the proxy's connection ended is not how the destination's did.
type CutError struct {
	Early bool // there was none of it
	words string
}

// Error implements error.
func (c *CutError) Error() string { return c.words }

// Cut makes a CutError of what a read or write of a handshake failed with, if it is one.
func Cut(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &CutError{false, "ended the connection within its answer"}
	case errors.Is(err, io.EOF):
		return &CutError{true, "ended the connection instead of answering"}
	case slices.ContainsFunc(resets, func(reset error) bool { return errors.Is(err, reset) }):
		return &CutError{true, "reset the connection instead of answering"}
	}
	return err
}

// OpError is the error of an outbound's call about a destination. It has one line,
// whatever target is.
func OpError(op, network, target string, err error) error {
	if strings.ContainsFunc(target, unicode.IsControl) {
		target = strconv.Quote(target)
	}
	return &net.OpError{Op: op, Net: network, Addr: address{network, target}, Err: err}
}

// address is a destination as the caller named it.
type address struct{ network, text string }

func (a address) Network() string { return a.network }
func (a address) String() string  { return a.text }
