package tcp

import (
	"io"
	"net"
	"os"

	"l3extract/internal/flow"
)

// The names of the operations in a net.OpError.
const (
	opRead       = "read"
	opWrite      = "write"
	opFlush      = "flush"
	opClose      = "close"
	opCloseRead  = "closeread"
	opCloseWrite = "closewrite"
	opReadFrom   = "readfrom"
	opWriteTo    = "writeto"
	opPeek       = "peek"
	opDiscard    = "discard"
	opSet        = "set"
	opHandshake  = "handshake"
	opReject     = "reject"
)

// opError wraps err for the caller of op. A nil error and EOF stay what they are.
func (s *Stream) opError(op string, err error) error {
	switch e := err.(type) {
	case nil:
		return nil
	case *net.OpError:
		return e
	}
	if err == io.EOF {
		return err
	}
	return &net.OpError{
		Op: op, Net: network,
		Source: s.LocalAddr(), Addr: s.RemoteAddr(),
		Err: lasting(err),
	}
}

// lasting hides a Timeout method that says true, unless it is that of a passed
// deadline: ETIMEDOUT ends a stream for ever, and code that retries on Timeout
// would retry for ever.
func lasting(err error) error {
	if t, ok := err.(interface{ Timeout() bool }); ok && t.Timeout() && !isDeadline(err) {
		return lastingError{err}
	}
	return err
}

func isDeadline(err error) bool {
	return err == os.ErrDeadlineExceeded || err == errContextDeadline
}

type lastingError struct{ err error }

func (e lastingError) Error() string { return e.err.Error() }
func (e lastingError) Unwrap() error { return e.err }

// endedError is what calls return after a stream was ended from our side by
// something else than its Close: it matches net.ErrClosed and the cause.
type endedError struct{ cause error }

func (e endedError) Error() string   { return "stream ended: " + e.cause.Error() }
func (e endedError) Unwrap() []error { return []error{net.ErrClosed, e.cause} }

// killed returns the cause of an end from outside and the error that calls
// return from then on. A nil cause is def.
func killed(cause error, def flow.Cause) (error, error) {
	if cause == nil {
		cause = def
	}
	return cause, endedError{cause}
}
