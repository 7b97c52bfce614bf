package tun

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"l3extract/l3conn"
)

// ops is what one call does inside the poller's callback. It is pooled together
// with its callbacks and vectors, so that a packet costs no allocation.
type ops struct {
	d     *device
	bufs  [][]byte
	sizes []int
	segs  []l3conn.Segment
	n     int // packets or segments done
	err   error

	one     [1][]byte
	oneSize [1]int
	header  [maxHeader]byte // virtio-net's, of the packet at hand
	iov     []unix.Iovec
	cutter  l3conn.Cutter
	whole   [1][]byte
	flat    [maxHeader + flatWrite]byte

	readPackets, readSegments   func(fd uintptr) bool // false means to wait
	writePackets, writeSegments func(fd uintptr)
}

func newOps(d *device) *ops {
	o := &ops{d: d, iov: make([]unix.Iovec, 0, 8)}
	o.readPackets, o.readSegments = o.getPackets, o.getSegments
	o.writePackets, o.writeSegments = o.putPackets, o.putSegments
	return o
}

// lay points the vector at the header, if there is one, and parts, and returns
// the bytes of parts.
func (o *ops) lay(parts [][]byte) int {
	o.iov = o.iov[:0]
	if o.d.header > 0 {
		o.iov = append(o.iov, unix.Iovec{Base: &o.header[0]})
		o.iov[0].SetLen(o.d.header)
	}
	room := 0
	for _, p := range parts {
		if len(p) > 0 {
			o.iov = append(o.iov, unix.Iovec{Base: &p[0]})
			o.iov[len(o.iov)-1].SetLen(len(p))
			room += len(p)
		}
	}
	return room
}

// move makes the system call on the vector. The calls of a TUN that we opened never wait,
// so Go's scheduler is not told of them (RawSyscall): on one processor it takes a call of 20 µs for one
// that blocks, and hands what else there is to do to another thread. That doubled the
// cost of a datagram at 100 Mbit/s.
func (o *ops) move(trap, fd uintptr) (int, syscall.Errno) {
	var base unsafe.Pointer
	if len(o.iov) > 0 {
		base = unsafe.Pointer(&o.iov[0])
	}
	for {
		var n uintptr
		var errno syscall.Errno
		if o.d.given {
			n, _, errno = unix.Syscall(trap, fd, uintptr(base), uintptr(len(o.iov)))
		} else {
			n, _, errno = unix.RawSyscall(trap, fd, uintptr(base), uintptr(len(o.iov)))
		}
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// get reads one packet into parts and returns its size; 0 if it did not fit.
// ok is false if there is none, or at the error that it leaves in o.err.
func (o *ops) get(fd uintptr, parts [][]byte) (size int, ok bool) {
	room := o.lay(parts)
	n, errno := o.move(unix.SYS_READV, fd)
	switch {
	case errno == unix.EAGAIN:
		return 0, false
	case errno != 0:
		o.err = os.NewSyscallError("readv", errno)
		return 0, false
	}
	n = max(0, n-o.d.header)
	if o.d.unsure {
		o.d.unsure = false
		if o.foreign(parts, n) {
			o.err = errHeader
			return 0, false
		}
	}
	if n == room && cut(parts, n) {
		n = 0
	}
	return n, true
}

// foreign reports whether the first packet has a header that should not be
// there; a later one that looks like it is only a bad packet. Its header starts
// with 16 bits of flags and the type of the packet as on Ethernet.
func (o *ops) foreign(parts [][]byte, n int) bool {
	h := o.header[:4]
	if o.d.header == 0 {
		b := begin(parts, n)
		h = b[:4]
	}
	return h[0]>>4 == 0 && (h[2] == 0x08 && h[3] == 0x00 || h[2] == 0x86 && h[3] == 0xdd)
}

// begin returns the first bytes of the n in parts.
func begin(parts [][]byte, n int) (b [6]byte) {
	at := 0
	for _, p := range parts {
		at += copy(b[at:min(n, len(b))], p)
	}
	return b
}

// cut reports whether the n bytes that fill parts are only the beginning of a
// packet: the kernel cuts without a word, so the IP header must tell.
func cut(parts [][]byte, n int) bool {
	b := begin(parts, n)
	switch {
	case n < len(b):
		return true
	case b[0]>>4 == 6:
		return 40+int(b[4])<<8+int(b[5]) > n
	}
	return int(b[2])<<8+int(b[3]) > n
}

// getPackets reads packets until there are no more.
func (o *ops) getPackets(fd uintptr) bool {
	for o.n < len(o.bufs) {
		n, ok := o.get(fd, o.bufs[o.n:o.n+1])
		if !ok {
			return o.n > 0 || o.err != nil
		}
		if n > 0 && o.d.header > 0 {
			n = o.settle(o.bufs[o.n][:n])
		}
		o.sizes[o.n] = n
		o.n++
	}
	return true
}

// getSegments reads segments until there are no more.
func (o *ops) getSegments(fd uintptr) bool {
	for o.n < len(o.segs) {
		s := &o.segs[o.n]
		n, ok := o.get(fd, s.Parts)
		if !ok {
			return o.n > 0 || o.err != nil
		}
		*s = l3conn.Segment{Parts: s.Parts}
		if n > 0 && o.describe(s, n) {
			s.Size = n
		} else {
			*s = l3conn.Segment{Parts: s.Parts}
		}
		o.n++
	}
	return true
}

// putPackets writes packets until an error.
func (o *ops) putPackets(fd uintptr) {
	clear(o.header[:])
	for o.n < len(o.bufs) {
		if p := o.bufs[o.n]; len(p) > 0 && !o.put(fd, o.bufs[o.n:o.n+1]) {
			return
		}
		o.n++
	}
}

// putSegments writes segments until an error.
func (o *ops) putSegments(fd uintptr) {
	clear(o.header[:])
	for o.n < len(o.segs) {
		s := &o.segs[o.n]
		if o.err = s.Check(o.d.features, o.d.size); o.err != nil {
			return
		}
		o.encode(s)
		if !o.put(fd, s.Parts) {
			return
		}
		o.n++
	}
}

// flatWrite is the size of packet, in bytes, up to which its parts are copied behind
// its header and written from there: the kernel takes one piece faster than it
// imports a vector, by more than the copy costs (BenchmarkWrite).
const flatWrite = 2 << 10

// put writes one packet; a TUN takes all of it or nothing.
func (o *ops) put(fd uintptr, parts [][]byte) bool {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	call, errno := "write", syscall.Errno(0)
	switch {
	case size == 0:
		return true
	case size <= flatWrite:
		b := append(o.flat[:0], o.header[:o.d.header]...)
		for _, p := range parts {
			b = append(b, p...)
		}
		errno = o.writeFlat(fd, b)
	default:
		call = "writev"
		o.lay(parts)
		_, errno = o.move(unix.SYS_WRITEV, fd)
	}
	if errno != 0 {
		o.err = os.NewSyscallError(call, errno)
		return false
	}
	return true
}

func (o *ops) writeFlat(fd uintptr, b []byte) syscall.Errno {
	for {
		var errno syscall.Errno
		if o.d.given {
			_, _, errno = unix.Syscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		} else {
			_, _, errno = unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}
