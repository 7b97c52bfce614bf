package forward

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"l3extract/internal/packet"
)

// The error queue of an upstream socket (IP_RECVERR, IPV6_RECVERR): the ICMP errors
// that came for what it sent, each with the router that reported it. While there is
// one, the socket's next call fails with its errno, whatever that call is about: who
// gets an error empties the queue, and then tries again.

// queuedFault is one ICMP error, and as much of the datagram as it quoted.
type queuedFault struct {
	target  netip.AddrPort // where the datagram went; a ping has port 0
	payload []byte         // in the buffer given to readFault
	fault   packet.Fault
}

// queueErrors switches the error queue of fd on.
func queueErrors(fd int, v6 bool) error {
	if v6 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
}

// isV6 tells the family of fd.
func isV6(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_INET6
}

// readFault takes one error out of the queue of fd. more is false when there was
// none; one that says nothing to a client has no Kind.
func readFault(fd int, buf []byte) (q queuedFault, more bool) {
	var oob [256]byte
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, buf, oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return queuedFault{}, false
		}
		q.target, q.payload = addrPortFrom(from), buf[:n]
		q.fault, _ = parseFault(oob[:oobn])
		return q, true
	}
}

// addrPortFrom returns the address in sa, unmapped and without a zone.
func addrPortFrom(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return plain(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)))
	}
	return netip.AddrPort{}
}

// A struct sock_extended_err (linux/errqueue.h) is errno, origin, type, code, pad,
// info, data; behind it stands the sockaddr of who reported it.
const (
	extendedErrLen = 16
	originICMP     = 2
	originICMP6    = 3
)

// parseFault reads the ICMP error in the control messages oob. ok is false when there
// is none that could be sent on: other errors, and those of the host itself.
func parseFault(oob []byte) (f packet.Fault, ok bool) {
	for len(oob) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return packet.Fault{}, false
		}
		oob = rest
		v4 := header.Level == unix.IPPROTO_IP && header.Type == unix.IP_RECVERR
		v6 := header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_RECVERR
		if (v4 || v6) && len(data) >= extendedErrLen {
			return extendedErr(data)
		}
	}
	return packet.Fault{}, false
}

func extendedErr(data []byte) (f packet.Fault, ok bool) {
	version := uint8(4)
	switch data[4] {
	case originICMP:
	case originICMP6:
		version = 6
	default:
		return packet.Fault{}, false
	}
	f.Kind = packet.KindOf(version, data[5], data[6])
	if f.Kind == packet.OtherError {
		return packet.Fault{}, false
	}
	if f.Kind == packet.TooBig {
		f.MTU = int(min(binary.NativeEndian.Uint32(data[8:]), 1<<16))
	}
	f.From = offender(data[extendedErrLen:])
	return f, true
}

// offender reads the sockaddr of who reported an error, zero if it is unknown.
func offender(sa []byte) netip.Addr {
	const (
		at4 = int(unsafe.Offsetof(unix.RawSockaddrInet4{}.Addr))
		at6 = int(unsafe.Offsetof(unix.RawSockaddrInet6{}.Addr))
	)
	if len(sa) < 2 {
		return netip.Addr{}
	}
	switch binary.NativeEndian.Uint16(sa) {
	case unix.AF_INET:
		if len(sa) >= at4+4 {
			return netip.AddrFrom4([4]byte(sa[at4:]))
		}
	case unix.AF_INET6:
		if len(sa) >= at6+16 {
			return netip.AddrFrom16([16]byte(sa[at6:])).Unmap()
		}
	}
	return netip.Addr{}
}

// hopControl returns the control message that gives one packet its TTL or hop limit.
func hopControl(v6 bool, hops uint8) []byte {
	oob := make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_TTL
	if v6 {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT
	}
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(oob[unix.CmsgLen(0):], uint32(hops))
	return oob
}

// hopsOf reads the TTL or hop limit of a received packet, 0 if it is not told.
func hopsOf(oob []byte) uint8 {
	for len(oob) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0
		}
		oob = rest
		v4 := header.Level == unix.IPPROTO_IP && header.Type == unix.IP_TTL
		v6 := header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_HOPLIMIT
		if (v4 || v6) && len(data) >= 4 {
			return uint8(min(binary.NativeEndian.Uint32(data), 255))
		}
	}
	return 0
}
