package framed

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"l3extract/l3conn"
)

// LengthError is a length in the stream that no packet can have. The conn is over:
// where the next frame begins is not known.
type LengthError struct {
	// Length is what was read.
	Length uint32
	// Min and MTU are what it should lie within.
	Min, MTU int
	// Offset is where in the stream it stood, in bytes since New.
	Offset uint64
}

// Error implements error.
func (e *LengthError) Error() string {
	return fmt.Sprintf("a frame of %d bytes at byte %d of the stream, and packets have %d to %d: "+
		"the peer uses another format or a larger MTU", e.Length, e.Offset, e.Min, e.MTU)
}

// silent is the end of a conn whose peer says nothing.
type silent struct{ error }

// Unwrap makes it a time-out of the connection, not of a deadline.
func (silent) Unwrap() error { return syscall.ETIMEDOUT }

// end is err as the end of a conn: a caller that asks l3conn.Transient must not go
// on after it.
func end(op string, err error) error {
	if l3conn.Transient(err) {
		err = errors.New(err.Error())
	}
	return opError(op, err)
}

func opError(op string, err error) error {
	var known *net.OpError
	if errors.As(err, &known) { // the stream's own says more
		return err
	}
	return &net.OpError{Op: op, Net: "framed", Err: err}
}
