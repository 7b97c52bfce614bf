//go:build unix

package control

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenUnix opens a socket file. On Linux it has its mode from the first moment on: the
// file gets that of the descriptor.
func listenUnix(path string) (net.Listener, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctlErr := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) })
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF) { // systems whose sockets have no mode
			err = nil
		}
		return errors.Join(ctlErr, err)
	}}
	return c.Listen(context.Background(), "unix", path)
}
