package tcp

import (
	"io"

	"l3extract/internal/netstack"
)

// Send gives what was received to the socket fd, without a copy in user space, and
// consumes what it took: n of had bytes. more says that this may not be all; else
// Readable tells of the rest. own is io.EOF, netstack.ErrWouldBlock when there is
// nothing, or what Read would return; sys is the socket's error.
func (d *Driven) Send(fd int) (n, had int, more bool, own, sys error) {
	s := (*Stream)(d)
	if n, had, more, own, sys = s.sendReceived(fd); own != nil && own != netstack.ErrWouldBlock && own != io.EOF {
		own = s.opError(opWriteTo, own)
	}
	return n, had, more, own, sys
}
