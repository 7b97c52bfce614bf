package tcp

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is what sendmsg(2) needs. Package unix would allocate it for each call.
type message struct {
	hdr unix.Msghdr
	iov [len(vector{})]unix.Iovec
}

var messages = sync.Pool{New: func() any { return new(message) }}

// send gives parts, at least one and none of them empty, to the socket fd. It does not
// wait: what the socket has no room for is left, and with no room at all the error is
// EAGAIN. Since it does not wait, Go's scheduler is not told of it (RawSyscall).
func send(fd int, parts [][]byte) (int, error) {
	m := messages.Get().(*message)
	for i, p := range parts {
		m.iov[i].Base = unsafe.SliceData(p)
		m.iov[i].SetLen(len(p))
	}
	m.hdr.Iov = &m.iov[0]
	m.hdr.SetIovlen(len(parts))
	var n uintptr
	var errno unix.Errno
	for {
		n, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errno != unix.EINTR {
			break
		}
	}
	clear(m.iov[:len(parts)]) // the memory is the engine's
	messages.Put(m)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
