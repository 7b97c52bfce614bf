package forward

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"l3extract/internal/packet"
)

// pingSocket sends pings of one IP version and receives what comes of them. A ping
// socket's identifier is the kernel's, which shows it nothing else; a raw one has an
// identifier of its own, and sees the echo replies of all the host.
type pingSocket struct {
	conn   net.PacketConn
	raw    syscall.RawConn
	v6     bool
	shared bool   // a raw socket
	id     uint16 // of a raw socket
}

// newPingSocket takes pc over, and closes it when it fails.
func newPingSocket(pc net.PacketConn, v6 bool) (*pingSocket, error) {
	s := &pingSocket{conn: pc, v6: v6}
	c, ok := pc.(syscall.Conn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("forward: a %T has no descriptor: %w", pc, errors.ErrUnsupported), pc.Close())
	}
	var err error
	if s.raw, err = c.SyscallConn(); err == nil {
		cerr := s.raw.Control(func(fd uintptr) { err = s.prepare(int(fd)) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	return s, nil
}

// A filter of ICMPv4 messages (linux/icmp.h) has a bit for each type that is not let
// in.
const icmpFilter = 1

func (s *pingSocket) prepare(fd int) error {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	s.shared = kind == unix.SOCK_RAW
	if s.shared {
		s.id = uint16(rand.Uint32())
		if s.v6 {
			// A bit for each type that is blocked.
			var f unix.ICMPv6Filter
			for i := range f.Data {
				f.Data[i] = ^uint32(0)
			}
			f.Data[packet.EchoReply6>>5] &^= 1 << (packet.EchoReply6 & 31)
			err = unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &f)
		} else {
			err = unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, ^(1 << packet.EchoReply4))
		}
	}
	if err == nil {
		err = queueErrors(fd, s.v6)
	}
	switch {
	case err != nil:
	case s.v6:
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	default:
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
	}
	return os.NewSyscallError("setsockopt", err)
}

func (s *pingSocket) close() { _ = s.conn.Close() }

// send sends one ping, without waiting for room: EAGAIN then.
func (s *pingSocket) send(seq uint16, payload []byte, target netip.Addr, hops uint8) error {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	typ := packet.EchoRequest4
	var to unix.Sockaddr
	if s.v6 {
		typ = packet.EchoRequest6
		to = &unix.SockaddrInet6{Addr: target.As16()}
	} else {
		to = &unix.SockaddrInet4{Addr: target.As4()}
	}
	if packet.EchoLen+len(payload) > len(b) {
		return syscall.EMSGSIZE
	}
	packet.PutEcho(b[:], typ, s.id, seq)
	msg := b[:packet.EchoLen+copy(b[packet.EchoLen:], payload)]
	if s.shared && !s.v6 { // else the kernel does it
		sum := ^packet.Checksum(msg, 0)
		msg[2], msg[3] = byte(sum>>8), byte(sum)
	}
	var err error
	cerr := s.raw.Control(func(fd uintptr) {
		err = unix.EINTR
		for err == unix.EINTR {
			err = unix.Sendmsg(int(fd), msg, hopControl(s.v6, hops), to, unix.MSG_DONTWAIT)
		}
	})
	if err == nil {
		err = cerr
	}
	return err
}

// receive hands out replies and errors until the socket is closed or breaks.
func (s *pingSocket) receive(
	answered func(v6 bool, seq uint16, from netip.Addr, payload []byte, ttl uint8),
	faulted func(v6 bool, seq uint16, q queuedFault),
) {
	for failures := 0; failures < maxFailures; {
		err := s.receiveOne(answered)
		switch {
		case err == nil:
			failures = 0
		case errors.Is(err, net.ErrClosed):
			return
		case !s.faults(faulted):
			failures++
		}
	}
}

// receiveOne waits for a message, and takes a buffer only when one is there.
func (s *pingSocket) receiveOne(answered func(bool, uint16, netip.Addr, []byte, uint8)) error {
	var own error // of the socket; what raw.Read returns is of its descriptor
	err := s.raw.Read(func(fd uintptr) bool {
		b := buffers.Get().(*buffer)
		defer buffers.Put(b)
		var oob [64]byte
		n, oobn, _, from, err := unix.Recvmsg(int(fd), b[:], oob[:], unix.MSG_DONTWAIT)
		switch err {
		case unix.EAGAIN:
			return false
		case unix.EINTR:
			return true
		case nil:
			if seq, payload, ok := s.reply(b[:n]); ok {
				answered(s.v6, seq, addrPortFrom(from).Addr(), payload, hopsOf(oob[:oobn]))
			}
		}
		own = err
		return true
	})
	if err == nil {
		err = own
	}
	return err
}

// reply reads a received message; ok is false when it answers no ping of ours.
func (s *pingSocket) reply(b []byte) (seq uint16, payload []byte, ok bool) {
	if s.shared && !s.v6 { // the IP header comes with it
		header := 0
		if len(b) > 0 {
			header = int(b[0]&15) * 4
		}
		if header < 20 || header > len(b) {
			return 0, nil, false
		}
		b = b[header:]
	}
	id, seq, reply, ok := packet.ReadEcho(b, s.v6)
	if !ok || !reply || s.shared && id != s.id {
		return 0, nil, false
	}
	return seq, b[packet.EchoLen:], true
}

// faults empties the error queue and reports whether there was anything in it.
func (s *pingSocket) faults(faulted func(v6 bool, seq uint16, q queuedFault)) (any bool) {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	_ = s.raw.Control(func(fd uintptr) {
		for {
			q, more := readFault(int(fd), b[:])
			if !more {
				return
			}
			any = true
			id, seq, reply, ok := packet.ReadEcho(q.payload, s.v6)
			if ok && !reply && (!s.shared || id == s.id) {
				faulted(s.v6, seq, q)
			}
		}
	})
	return any
}
