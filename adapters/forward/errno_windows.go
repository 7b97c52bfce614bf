package forward

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// systemErrno translates the error numbers of Windows sockets, which package
// syscall does not match with its own.
func systemErrno(err error) syscall.Errno {
	for _, e := range []struct{ theirs, ours syscall.Errno }{
		{windows.WSAEHOSTUNREACH, syscall.EHOSTUNREACH},
		{windows.WSAENETUNREACH, syscall.ENETUNREACH},
		{windows.WSAEADDRNOTAVAIL, syscall.ENETUNREACH},
		{windows.WSAEAFNOSUPPORT, syscall.ENETUNREACH},
		{windows.WSAETIMEDOUT, syscall.ETIMEDOUT},
		{windows.WSAECONNREFUSED, syscall.ECONNREFUSED},
		{windows.WSAECONNRESET, syscall.ECONNRESET},
		{windows.WSAEACCES, syscall.EACCES},
		{windows.WSAENOBUFS, syscall.ENOBUFS},
	} {
		if errors.Is(err, e.theirs) {
			return e.ours
		}
	}
	return 0
}
