package tcp

import (
	"io"

	"l3extract/internal/netstack"
)

// Send gives what was received to the socket fd, without a copy in user space, and
// consumes what it took: n of had bytes. own is io.EOF, netstack.ErrWouldBlock when
// there is nothing, or what Read would return; sys is the socket's error.
func (d *Driven) Send(fd int) (n, had int, own, sys error) {
	s := (*Stream)(d)
	if n, had, own, sys = s.sendReceived(fd); own != nil && own != netstack.ErrWouldBlock && own != io.EOF {
		own = s.opError(opWriteTo, own)
	}
	return n, had, own, sys
}
