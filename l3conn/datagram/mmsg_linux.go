package datagram

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes of the message
}

// controlSize is room for one int in a control message.
const controlSize = 32

// The bounds of a run of datagrams that leaves as one message.
const (
	maxRun      = 64 // UDP_MAX_SEGMENTS of any kernel
	maxRunBytes = 65535 - header6
	// runMessages is how many messages one call receives where each may be a run, and
	// so has 64 KiB of memory.
	runMessages = 4
)

// messages is what one system call receives or sends. Its pointers stay as they are
// for its life.
type messages struct {
	hdrs    []mmsghdr
	iov     []unix.Iovec
	names   []unix.RawSockaddrInet6
	control [][controlSize]byte
}

func newMessages(n int) messages {
	return messages{
		hdrs: make([]mmsghdr, n), iov: make([]unix.Iovec, n),
		names: make([]unix.RawSockaddrInet6, n), control: make([][controlSize]byte, n),
	}
}

// prepare makes the messages ready to be received.
func (m *messages) prepare(named bool) {
	for i := range m.hdrs {
		h := &m.hdrs[i].hdr
		h.Iov = &m.iov[i]
		h.SetIovlen(1)
		h.Control = &m.control[i][0]
		h.SetControllen(controlSize)
		if named {
			h.Name = (*byte)(unsafe.Pointer(&m.names[i]))
			h.Namelen = unix.SizeofSockaddrInet6
		}
	}
}

// call is recvmmsg or sendmmsg of the messages from the kth to the one before the nth.
func (m *messages) call(trap, fd uintptr, k, n int) (int, syscall.Errno) {
	for {
		done, _, errno := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&m.hdrs[k])), uintptr(n-k),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno != unix.EINTR {
			return int(done), errno
		}
	}
}

// source returns who sent message i.
func (m *messages) source(i int) (netip.AddrPort, uint32) {
	switch name := &m.names[i]; name.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port(&v4.Port)), 0
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), port(&name.Port)), name.Scope_id
	}
	return netip.AddrPort{}, 0
}

// run returns the size of the datagrams of which message i is a run; its length for a
// single one.
func (m *messages) run(i int) int {
	h := &m.hdrs[i].hdr
	size := int(m.hdrs[i].n)
	if int(h.Controllen) < unix.CmsgLen(4) {
		return size
	}
	c := (*unix.Cmsghdr)(unsafe.Pointer(&m.control[i][0]))
	if c.Level == unix.SOL_UDP && c.Type == unix.UDP_GRO {
		if n := int(binary.NativeEndian.Uint32(m.control[i][unix.CmsgLen(0):])); n > 0 && n < size {
			return n
		}
	}
	return size
}

// truncated reports whether message i did not fit.
func (m *messages) truncated(i int) bool { return m.hdrs[i].hdr.Flags&unix.MSG_TRUNC != 0 }

// setRun says that message i is a run of datagrams of size bytes.
func (m *messages) setRun(i, size int) {
	c := (*unix.Cmsghdr)(unsafe.Pointer(&m.control[i][0]))
	*c = unix.Cmsghdr{Level: unix.SOL_UDP, Type: unix.UDP_SEGMENT}
	c.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(m.control[i][unix.CmsgLen(0):], uint16(size))
	h := &m.hdrs[i].hdr
	h.Control = &m.control[i][0]
	h.SetControllen(unix.CmsgSpace(2))
}

// port reads the port of a socket address, which is big-endian.
func port(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}

// putName writes a socket address and returns its length.
func putName(name *unix.RawSockaddrInet6, to *net.UDPAddr, six bool) uint32 {
	addr := to.AddrPort().Addr().Unmap()
	if !six {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		*v4 = unix.RawSockaddrInet4{Family: unix.AF_INET}
		if addr.Is4() {
			v4.Addr = addr.As4()
		}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&v4.Port))[:], uint16(to.Port))
		return unix.SizeofSockaddrInet4
	}
	*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: addr.As16(), Scope_id: scope(to.Zone)}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], uint16(to.Port))
	return unix.SizeofSockaddrInet6
}

// scope is the number of a zone.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}
