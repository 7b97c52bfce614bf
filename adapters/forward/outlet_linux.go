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

// prepare switches the error queue on. Without it, as on a socket of another kind,
// errors of upstream are not passed on.
func (o *outlet) prepare() {
	if o.raw != nil {
		_ = o.raw.Control(func(fd uintptr) {
			o.v6 = isV6(int(fd))
			_ = queueErrors(int(fd), o.v6)
		})
	}
}

// sendHops is send for an outlet with a descriptor.
func (o *outlet) sendHops(b []byte, to netip.AddrPort, hops uint8) error {
	_, _, err := o.conn.(*net.UDPConn).WriteMsgUDPAddrPort(b, hopControl(o.v6, hops), to)
	return err
}

// queues reports whether there is an error queue.
func (o *outlet) queues() bool { return o.raw != nil }

// faults empties the error queue and reports whether there was anything in it. What is
// given to tell is valid during the call.
func (o *outlet) faults(tell func(queuedFault)) (any bool) {
	if o.up != nil {
		return o.up.faults(tell)
	}
	if o.raw == nil {
		return false
	}
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	_ = o.raw.Control(func(fd uintptr) {
		for {
			q, more := readFault(int(fd), b[:])
			if !more {
				return
			}
			any = true
			tell(q)
		}
	})
	return any
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
