//go:build !windows

package datagram

import "syscall"

// The errors that pass.
var (
	refused     = []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET}
	unreachable = []syscall.Errno{
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.ENETRESET,
		syscall.EADDRNOTAVAIL, // the address of the interface is gone for now
		syscall.ENOENT,        // of a Unix socket
	}
	noBuffers = []syscall.Errno{syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR}
	denied    = []syscall.Errno{syscall.EPERM, syscall.EACCES}
	tooLong   = []syscall.Errno{syscall.EMSGSIZE}
)
