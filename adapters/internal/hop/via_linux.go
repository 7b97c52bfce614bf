package hop

import "golang.org/x/sys/unix"

// BoundTo returns the index of the interface that a socket is bound to, 0 for none. The
// interface may have gone.
func BoundTo(fd int) int {
	index, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	if err != nil {
		return 0 // Linux before 5.1
	}
	return index
}
