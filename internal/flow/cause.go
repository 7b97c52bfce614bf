package flow

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Cause says why a flow ended. It is an error, so that it can be the cause of a
// context, be wrapped, and be found with errors.As; Causes compare with ==.
type Cause string

// The causes. Every flow ends with one of them.
const (
	Closed          Cause = "closed"            // both ends finished in order
	Reset           Cause = "reset"             // our own application reset it
	ResetByClient   Cause = "reset by client"   // RST from behind the packet conn
	ResetByUpstream Cause = "reset by upstream" // the other leg of a relay was reset
	Idle            Cause = "idle"              // nothing moved for the idle timeout
	Evicted         Cause = "evicted"           // made room for another
	Limit           Cause = "limit"             // a limit was reached
	Memory          Cause = "memory"            // it held too much for too long when the memory limit was reached
	Policy          Cause = "policy"            // a rule forbids it
	DialFailed      Cause = "dial failed"       // the other leg could not be dialled
	PathLost        Cause = "path lost"         // the other leg's interface or address has gone
	Loop            Cause = "loop"              // it was an upstream of ours that came back
	Undelivered     Cause = "undelivered"       // closed, but the peer never took the last bytes
	TimedOut        Cause = "timed out"         // the peer stopped answering
	Shutdown        Cause = "shutdown"          // the stack was closed
	ConnFailed      Cause = "conn failed"       // the packet conn broke
	Killed          Cause = "killed"            // Stack.Kill without a cause of its own
)

// Error implements error.
func (c Cause) Error() string { return string(c) }

// CauseOf finds the Cause in err's tree, or the one that fits its errno best.
// A nil err or io.EOF is Closed.
func CauseOf(err error) Cause {
	var c Cause
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return Closed
	case errors.As(err, &c):
		return c
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ResetByClient
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH),
		errors.Is(err, syscall.ENETUNREACH):
		return DialFailed
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return Policy
	case errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNABORTED):
		return Closed
	}
	return Reset
}
