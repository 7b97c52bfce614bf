package carrier

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"l3extract/l3conn"
)

// GoneError is the end of a Conn that was without a carrier for too long. It matches
// syscall.ETIMEDOUT.
type GoneError struct {
	// For is how long there was none.
	For time.Duration
	// Last is why: the loss of the last one, or of the last Dial the error; nil if there
	// was never any.
	Last error
}

// Error implements error.
func (e *GoneError) Error() string {
	if e.Last == nil {
		return fmt.Sprintf("no carrier for %v", e.For)
	}
	return fmt.Sprintf("no carrier for %v, at last: %v", e.For, e.Last)
}

// Unwrap leaves Last out: io.EOF of a carrier is none of the Conn.
func (e *GoneError) Unwrap() error { return syscall.ETIMEDOUT }

// Permanent marks an error of Config.Dial as one that will not pass, such as a refused
// password: the Conn is over with it.
func Permanent(err error) error { return &permanent{err} }

type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

// final is err as the end of a Conn: a caller that asks l3conn.Transient must not go on
// after it.
func final(err error) error {
	if l3conn.Transient(err) {
		return errors.New(err.Error())
	}
	return err
}

func opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "carrier", Err: err}
}

// errInterrupted is why a carrier is lost that could not be interrupted otherwise.
var errInterrupted = errors.New("a deadline passed, and the carrier has none")
