package main

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// sockets asks about the TCP sockets of the network namespace that it was opened
// in, from wherever it is used (sock_diag(7)). It is not for concurrent use.
type sockets struct{ f *os.File }

// openSockets returns nil where the kernel cannot tell.
func openSockets() *os.File {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "sock_diag")
}

// States of TCP in which a socket was closed and the other end has not
// acknowledged all of it yet (net/tcp_states.h).
const unacknowledged = 1<<tcpFinWait1 | 1<<tcpLastAck | 1<<tcpClosing

const (
	tcpFinWait1 = 4
	tcpFinWait2 = 5 // our FIN is acknowledged, the other end's has not come
	tcpLastAck  = 9
	tcpClosing  = 11
)

// Lengths of struct inet_diag_req_v2 and inet_diag_msg, and where the latter says
// how many bytes are unacknowledged (linux/inet_diag.h).
const (
	diagRequest    = 56
	diagMessage    = 72
	diagWriteQueue = 60
)

// unsent returns how many closed sockets have data left, and how much.
func (s sockets) unsent() (n int, bytes uint64, err error) {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		err := s.dump(family, func(m []byte) {
			n++
			bytes += uint64(binary.NativeEndian.Uint32(m[diagWriteQueue:]))
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return n, bytes, nil
}

// dump calls f with the inet_diag_msg of each socket.
func (s sockets) dump(family byte, f func([]byte)) error {
	request := make([]byte, unix.SizeofNlMsghdr+diagRequest)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[unix.SizeofNlMsghdr], request[unix.SizeofNlMsghdr+1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[unix.SizeofNlMsghdr+4:], unacknowledged)
	fd := int(s.f.Fd())
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	b := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		for m := b[:n]; len(m) >= unix.SizeofNlMsghdr; {
			length := int(binary.NativeEndian.Uint32(m))
			if length < unix.SizeofNlMsghdr || length > len(m) {
				return errors.New("sock_diag: malformed answer")
			}
			payload := m[unix.SizeofNlMsghdr:length]
			switch kind := binary.NativeEndian.Uint16(m[4:]); {
			case kind == unix.NLMSG_DONE:
				return nil
			case kind == unix.NLMSG_ERROR && len(payload) >= 4:
				return os.NewSyscallError("sock_diag", unix.Errno(-int32(binary.NativeEndian.Uint32(payload))))
			case kind == unix.SOCK_DIAG_BY_FAMILY && len(payload) >= diagMessage:
				f(payload)
			}
			const align = unix.NLMSG_ALIGNTO - 1
			m = m[min((length+align)&^align, len(m)):]
		}
	}
}
