package forward

import (
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn returns the descriptor of a socket of package net. A type that embeds
// one has its own idea of reading.
func rawConn(pc net.PacketConn) syscall.RawConn {
	u, ok := pc.(*net.UDPConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil // its reads say what is wrong
	}
	return raw
}

// receiveRaw takes a buffer only when something is there to fill it.
func (o *outlet) receiveRaw() (b *buffer, payload []byte, src netip.AddrPort, err error) {
	var n int
	var from unix.Sockaddr
	var own error // of the socket; what raw.Read returns is of its descriptor
	err = o.raw.Read(func(fd uintptr) bool {
		b = buffers.Get().(*buffer)
		for {
			n, from, own = unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT)
			if own != unix.EINTR {
				break
			}
		}
		if own == unix.EAGAIN {
			buffers.Put(b)
			b = nil
			return false
		}
		return true
	})
	if err == nil && own != nil {
		err = os.NewSyscallError("recvfrom", own)
	}
	if err != nil {
		if b != nil {
			buffers.Put(b)
		}
		return nil, nil, netip.AddrPort{}, err
	}
	switch from := from.(type) {
	case *unix.SockaddrInet4:
		src = netip.AddrPortFrom(netip.AddrFrom4(from.Addr), uint16(from.Port))
	case *unix.SockaddrInet6:
		src = plain(netip.AddrPortFrom(netip.AddrFrom16(from.Addr), uint16(from.Port)))
	}
	return b, b[:n], src, nil
}
