//go:build !windows

package forward

import "syscall"

// systemErrno is for systems whose sockets have error numbers of their own.
func systemErrno(error) syscall.Errno { return 0 }
