//go:build unix

package hop

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Quiet tells whether an idle connection lives and has nothing to say. One that
// cannot be asked is taken to be so.
func Quiet(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, rerr := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = rerr == unix.EAGAIN || rerr == unix.EINTR
	})
	return err == nil && quiet
}
