//go:build unix

package hop

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// peeker returns a function that waits for bytes of c and returns them without taking
// them, and whether there is one.
func peeker(c net.Conn) (func(b []byte) (int, error), bool) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, false
	}
	return func(b []byte) (n int, err error) {
		cerr := raw.Read(func(fd uintptr) bool {
			for {
				n, _, err = unix.Recvfrom(int(fd), b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
				if err != unix.EINTR {
					return err != unix.EAGAIN
				}
			}
		})
		switch {
		case cerr != nil:
			return 0, cerr
		case err != nil:
			return 0, os.NewSyscallError("recvfrom", err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}, true
}

// Await returns when there is something to be read from raw, or an error to be heard.
func Await(raw syscall.RawConn) error {
	return raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err != unix.EAGAIN && err != unix.EINTR
	})
}
