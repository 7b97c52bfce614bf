package datagram

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// The errors that pass.
var (
	refused     = []syscall.Errno{windows.WSAECONNREFUSED, windows.WSAECONNRESET}
	unreachable = []syscall.Errno{
		windows.WSAEHOSTUNREACH, windows.WSAENETUNREACH, windows.WSAENETDOWN, windows.WSAEHOSTDOWN, windows.WSAENETRESET,
		windows.WSAEADDRNOTAVAIL, windows.ERROR_FILE_NOT_FOUND,
	}
	noBuffers = []syscall.Errno{windows.WSAENOBUFS, windows.WSAEWOULDBLOCK, windows.WSAEINTR}
	denied    = []syscall.Errno{windows.WSAEACCES}
	tooLong   = []syscall.Errno{windows.WSAEMSGSIZE}
)
