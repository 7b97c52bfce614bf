package forward

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"l3extract/udp"
)

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes of the message
}

// receiveBatch is how many messages one system call receives: each has 64 KiB of
// memory, which is in use only if so many come at once.
const receiveBatch = 16

// receiver is what a goroutine receives with.
type receiver struct {
	hdrs    [receiveBatch]mmsghdr
	iov     [receiveBatch]unix.Iovec
	names   [receiveBatch]unix.RawSockaddrInet6
	control [receiveBatch][controlSize]byte
	bufs    [receiveBatch][64 << 10]byte
	msgs    [receiveBatch]udp.Message
}

// controlSize is room for one int in a control message.
const controlSize = 32

func newReceiver() *receiver {
	r := new(receiver)
	for i := range r.hdrs {
		r.iov[i].Base = &r.bufs[i][0]
		r.iov[i].SetLen(len(r.bufs[i]))
		h := &r.hdrs[i].hdr
		h.Iov = &r.iov[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Control = &r.control[i][0]
	}
	return r
}

// receive takes what is there, and returns how many messages that are; 0 for none. It
// does not wait, so the scheduler is not told (RawSyscall), here and in send.
func (r *receiver) receive(fd int) (int, error) {
	for i := range r.hdrs {
		h := &r.hdrs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSize)
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&r.hdrs[0])), receiveBatch, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError("recvmmsg", errno)
		}
	}
}

// datagram returns message i, the size of the datagrams of which it is a run, 0 for
// a single one, and who sent it.
func (r *receiver) datagram(i int) (b []byte, segment int, src netip.AddrPort) {
	m := &r.hdrs[i]
	switch name := &r.names[i]; name.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		src = netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port(&v4.Port))
	case unix.AF_INET6:
		src = netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), port(&name.Port))
	}
	if got := int(m.hdr.Controllen); got >= unix.CmsgLen(4) {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&r.control[i][0]))
		if c.Level == unix.SOL_UDP && c.Type == unix.UDP_GRO {
			segment = int(binary.NativeEndian.Uint32(r.control[i][unix.CmsgLen(0):]))
		}
	}
	b = r.bufs[i][:m.n]
	if segment >= len(b) {
		segment = 0
	}
	return b, segment, src
}

// port reads the port of a socket address, which is big-endian.
func port(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}

// The bounds of a run of datagrams that leaves as one message (UDP_SEGMENT).
const (
	maxRun      = 64 // UDP_MAX_SEGMENTS of any kernel
	maxRunBytes = 65535 - 48
)

// sending is the messages that one system call sends: datagrams of a Batch, in
// order, of which equal ones to one target make one message.
type sending struct {
	hdrs    [udp.BatchSize]mmsghdr
	first   [udp.BatchSize + 1]int // datagram of each message, and the one behind the last
	iov     [udp.BatchSize]unix.Iovec
	names   [udp.BatchSize]unix.RawSockaddrInet6
	control [udp.BatchSize][controlSize]byte
	n       int // messages
	packets int // datagrams

	to    netip.AddrPort // of the last message
	size  int            // of its first datagram; 0 if no other may join it
	bytes int            // of it all
}

func (g *sending) reset() {
	clear(g.iov[:g.packets]) // payloads were lent
	g.n, g.packets, g.size = 0, 0, 0
	g.to = netip.AddrPort{}
}

// add adds a datagram.
func (g *sending) add(b []byte, to netip.AddrPort, u *upstream) {
	v := &g.iov[g.packets]
	*v = unix.Iovec{}
	if len(b) > 0 {
		v.Base = &b[0]
	}
	v.SetLen(len(b))
	apart := u.single || u.apart > 0
	if g.follows(b, to) && !apart {
		h := &g.hdrs[g.n-1].hdr
		if h.Controllen == 0 {
			setSegment(h, &g.control[g.n-1], g.size)
		}
		h.SetIovlen(g.packets - g.first[g.n-1] + 1)
		g.bytes += len(b)
		if len(b) < g.size {
			g.size = 0
		}
	} else {
		h := &g.hdrs[g.n].hdr
		*h = unix.Msghdr{Iov: v}
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&g.names[g.n]))
		h.Namelen = putName(&g.names[g.n], to, u.six)
		g.first[g.n] = g.packets
		g.n++
		g.to, g.size, g.bytes = to, len(b), len(b)
		if apart {
			g.size = 0
			u.apart = max(u.apart-1, 0)
		}
	}
	g.packets++
	g.first[g.n] = g.packets
}

// follows tells whether a datagram may be part of the last message.
func (g *sending) follows(b []byte, to netip.AddrPort) bool {
	return g.size > 0 && len(b) > 0 && len(b) <= g.size && to == g.to &&
		g.packets-g.first[g.n-1] < maxRun && g.bytes+len(b) <= maxRunBytes
}

// send sends messages from the kth on and returns how many it has sent, with the
// error of the first if that is none.
func (g *sending) send(fd, k int) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&g.hdrs[k])), uintptr(g.n-k), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// putName writes a socket address and returns its length.
func putName(name *unix.RawSockaddrInet6, to netip.AddrPort, six bool) uint32 {
	if !six {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		*v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&v4.Port))[:], to.Port())
		return unix.SizeofSockaddrInet4
	}
	*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: to.Addr().As16()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], to.Port())
	return unix.SizeofSockaddrInet6
}

// setSegment says that a message is a run of datagrams of size bytes.
func setSegment(h *unix.Msghdr, control *[controlSize]byte, size int) {
	c := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	*c = unix.Cmsghdr{Level: unix.SOL_UDP, Type: unix.UDP_SEGMENT}
	c.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(control[unix.CmsgLen(0):], uint16(size))
	h.Control = &control[0]
	h.SetControllen(unix.CmsgSpace(2))
}
