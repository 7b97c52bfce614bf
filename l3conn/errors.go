package l3conn

import (
	"errors"
	"io"
	"syscall"
)

// The errors of the contract that a conn survives; [Transient] is true for each.
var (
	// ErrShortBuffer is Read's: the packet was longer than the buffer and is
	// lost. It matches io.ErrShortBuffer.
	ErrShortBuffer error = &wrapped{"packet longer than the read buffer", io.ErrShortBuffer}
	// ErrTooLong is Write's: the packet is longer than the conn carries. It
	// matches syscall.EMSGSIZE.
	ErrTooLong error = &wrapped{"packet longer than the MTU", syscall.EMSGSIZE}
	// ErrNoBuffers is Write's: there is no room for the packet now and the
	// conn does not wait. It matches syscall.ENOBUFS.
	ErrNoBuffers error = &wrapped{"no room for the packet", syscall.ENOBUFS}
	// ErrDown is Write's: the link is down and may come up again. It matches
	// syscall.ENETDOWN.
	ErrDown error = &wrapped{"link is down", syscall.ENETDOWN}
)

// Transient reports whether a conn survives err: one packet was lost, or none
// was there, and the next Read or Write may work. A nil error, io.EOF, a passed
// deadline and net.ErrClosed are not transient.
func Transient(err error) bool {
	for _, t := range [...]error{
		syscall.ENOBUFS, syscall.EAGAIN, io.ErrShortBuffer,
		syscall.EMSGSIZE, syscall.ENETDOWN, syscall.EINTR,
	} {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// wrapped is a sentinel with words of its own and a cause that errors.Is finds.
type wrapped struct {
	text  string
	cause error
}

func (w *wrapped) Error() string { return "l3conn: " + w.text }
func (w *wrapped) Unwrap() error { return w.cause }
