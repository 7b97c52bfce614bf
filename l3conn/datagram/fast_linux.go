package datagram

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"l3extract/l3conn"
)

// fast moves the packets of a UDP socket, several per system call.
type fast struct {
	c     *Conn
	raw   syscall.RawConn
	six   bool // AF_INET6
	named bool // not connected: messages have addresses

	// Of the one goroutine that reads. Messages next to got-1 are still to be given
	// out, the first of them from at on.
	in        messages
	buf       []byte // of message size each
	size      int
	got, next int
	at        int
	receiving func(fd uintptr) bool // the call, made once
	inErr     syscall.Errno

	mu       sync.Mutex // guards what follows, over calls of the socket
	out      messages
	first    [batchSize + 1]int // packet of each message, and the one behind the last
	sendable int                // messages
	sentTo   int                // messages that are sent
	sending  func(fd uintptr) bool
	outErr   syscall.Errno
	runs     bool // the system takes them
	apart    int  // so many packets that come next are sent one by one
}

func newFast(c *Conn, u *net.UDPConn) *fast {
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	f := &fast{c: c, raw: raw, named: c.stream == nil, size: max(c.MTU(), 2048)}
	if c.cfg.MTU == 0 {
		f.size = max(f.size, maxPathMTU) // the path may turn out to carry as much
	}
	n, gro := batchSize, false
	err = raw.Control(func(fd uintptr) {
		domain, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		f.six = domain == unix.AF_INET6
		if size := c.cfg.SocketBuffer; size > 0 { // beyond what everybody may
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size)
		}
		if c.cfg.NoOffload {
			return
		}
		_, failed := unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT)
		f.runs = failed == nil
		gro = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1) == nil
	})
	if err != nil {
		return nil
	}
	if gro {
		n, f.size = runMessages, 1<<16
	}
	f.in = newMessages(n)
	f.receiving = func(fd uintptr) bool {
		f.in.prepare(f.named)
		f.got, f.inErr = f.in.call(unix.SYS_RECVMMSG, fd, 0, len(f.in.hdrs))
		return f.inErr != unix.EAGAIN
	}
	f.sending = func(fd uintptr) bool {
		for f.sentTo < f.sendable {
			var n int
			if n, f.outErr = f.out.call(unix.SYS_SENDMMSG, fd, f.sentTo, f.sendable); f.outErr != 0 {
				return f.outErr != unix.EAGAIN
			}
			f.sentTo += n
		}
		return true
	}
	return f
}

// read is Conn.Read.
func (f *fast) read(b []byte) (int, error) {
	p, err := f.wait()
	if err != nil {
		return 0, err
	}
	f.c.counters.packetsIn.Add(1)
	f.c.counters.bytesIn.Add(uint64(len(p)))
	if len(p) > len(b) {
		f.c.counters.short.Add(1)
		return 0, l3conn.ErrShortBuffer
	}
	return copy(b, p), nil
}

// BatchSize implements l3conn.BatchReader.
func (f *fast) BatchSize() int { return batchSize }

// ReadBatch implements l3conn.BatchReader.
func (f *fast) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	bufs = bufs[:min(len(bufs), batchSize)]
	if len(bufs) == 0 {
		return 0, nil
	}
	p, err := f.wait()
	n, bytes := 0, 0
	for ; p != nil; p = f.packet() {
		if sizes[n] = 0; len(p) <= len(bufs[n]) {
			sizes[n] = copy(bufs[n], p)
		} else {
			f.c.counters.short.Add(1)
		}
		bytes += len(p)
		if n++; n == len(bufs) {
			break
		}
	}
	f.c.counters.packetsIn.Add(uint64(n))
	f.c.counters.bytesIn.Add(uint64(bytes))
	return n, err
}

// wait waits for a packet. Its memory is good until the next call.
func (f *fast) wait() ([]byte, error) {
	if f.buf == nil {
		f.buf = make([]byte, f.size*len(f.in.hdrs))
		for i := range f.in.iov {
			f.in.iov[i].Base = &f.buf[i*f.size]
			f.in.iov[i].SetLen(f.size)
		}
	}
	for faults := 0; ; {
		if p := f.packet(); p != nil {
			return p, nil
		}
		f.got, f.next, f.at = 0, 0, 0
		err := f.raw.Read(f.receiving)
		if err == nil && f.inErr != 0 {
			err = os.NewSyscallError("recvmmsg", f.inErr)
		}
		if err != nil {
			f.got = 0
			if faults++; faults < maxFaults && f.c.passes(err) {
				continue
			}
			return nil, endError("read", err)
		}
		faults = 0
		f.c.counters.callsIn.Add(1)
	}
}

// packet returns the next packet of the peer's that was received, nil if there is none.
func (f *fast) packet() []byte {
	for ; f.next < f.got; f.next, f.at = f.next+1, 0 {
		i := f.next
		whole := f.buf[i*f.size:][:f.in.hdrs[i].n]
		run := f.in.run(i)
		if f.at == 0 {
			if len(whole) == 0 || f.in.truncated(i) {
				if len(whole) > 0 {
					f.c.counters.short.Add(1)
				}
				continue
			}
			if f.named && !f.admits(i, whole[:run]) {
				continue
			}
			if run < len(whole) {
				f.c.counters.runsIn.Add(1)
			}
		}
		if f.at >= len(whole) {
			continue
		}
		p := whole[f.at:min(f.at+run, len(whole))]
		f.at += len(p)
		return p
	}
	return nil
}

// admits is Conn.admits for message i, without an allocation for the peer that is known.
func (f *fast) admits(i int, p []byte) bool {
	from, zone := f.in.source(i)
	if known := f.c.peer.Load(); known != nil && known.udp == from {
		return true
	}
	addr := net.UDPAddrFromAddrPort(from)
	if zone != 0 {
		addr.Zone = strconv.FormatUint(uint64(zone), 10)
	}
	return f.c.admitsPeer(newPeer(addr), p)
}

// WriteBatch implements l3conn.BatchWriter.
func (f *fast) WriteBatch(pkts [][]byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.out.hdrs == nil {
		f.out = newMessages(batchSize)
	}
	for done := 0; done < len(pkts); {
		n, err := f.write(pkts[done:min(done+batchSize, len(pkts))])
		if done += n; err != nil {
			return done, err
		}
	}
	return len(pkts), nil
}

// write writes up to batchSize packets by as few messages as can be, and returns how many
// are written.
func (f *fast) write(pkts [][]byte) (int, error) {
	var to *net.UDPAddr
	if f.named {
		p := f.c.peer.Load()
		if p == nil {
			return 0, f.c.lost(errNoPeer)
		}
		to, _ = p.addr.(*net.UDPAddr)
		if to == nil || !f.six && !p.udp.Addr().Is4() {
			return 0, endError("write", &net.AddrError{Err: "not an address for this socket", Addr: p.addr.String()})
		}
	}
	for i, p := range pkts {
		if len(p) > 0 {
			continue
		}
		if i == 0 {
			return 1, nil // it carries nothing
		}
		pkts = pkts[:i]
		break
	}
	packets, stop := f.lay(pkts, to)
	defer clear(f.out.iov[:packets]) // the packets were lent
	written, from := 0, 0            // packets and messages
	for again := false; written < packets; {
		err := f.raw.Write(f.sending)
		if err == nil && f.outErr != 0 {
			err = os.NewSyscallError("sendmmsg", f.outErr)
		}
		before := written
		for ; written < f.first[f.sentTo]; written = f.first[from] {
			if from++; f.first[from]-f.first[from-1] > 1 {
				f.c.counters.runsOut.Add(1)
			}
		}
		f.count(pkts[before:written])
		if err == nil {
			continue
		}
		again = again && written == before
		if again {
			return written, f.c.lost(err)
		}
		if run := f.first[f.sentTo+1] - written; run > 1 && f.refusesRun(err, run) {
			return written, nil // the caller comes again
		}
		if counter, _ := f.c.counters.fault(err, true); counter != &f.c.counters.refused {
			return written, f.c.lost(err)
		}
		f.c.counters.refused.Add(1) // of a packet before this one, which was not sent
		again = true
	}
	if written == packets && stop != nil {
		f.c.counters.tooLong.Add(1)
		return written, stop
	}
	return written, nil
}

// lay makes messages of packets, and stops at one that is too long.
func (f *fast) lay(pkts [][]byte, to *net.UDPAddr) (packets int, stop error) {
	m, mtu := &f.out, f.c.MTU()
	f.sendable, f.sentTo, f.outErr = 0, 0, 0
	size, bytes := 0, 0 // of the run that the last message is; 0 if nothing may join it
	for i, p := range pkts {
		if len(p) > mtu {
			return i, l3conn.ErrTooLong
		}
		m.iov[i] = unix.Iovec{}
		m.iov[i].Base = &p[0]
		m.iov[i].SetLen(len(p))
		k := f.sendable - 1
		if size > 0 && len(p) <= size && i-f.first[k] < maxRun && bytes+len(p) <= maxRunBytes {
			if i-f.first[k] == 1 {
				m.setRun(k, size)
			}
			m.hdrs[k].hdr.SetIovlen(i - f.first[k] + 1)
			if bytes += len(p); len(p) < size {
				size = 0
			}
		} else {
			k++
			h := &m.hdrs[k].hdr
			*h = unix.Msghdr{Iov: &m.iov[i]}
			h.SetIovlen(1)
			if to != nil {
				h.Namelen = putName(&m.names[k], to, f.six)
				h.Name = nameOf(&m.names[k])
			}
			f.first[k] = i
			f.sendable = k + 1
			size, bytes = len(p), len(p)
			if !f.runs || f.apart > 0 {
				size = 0
				f.apart = max(f.apart-1, 0)
			}
		}
		f.first[f.sendable] = i + 1
	}
	return len(pkts), nil
}

// count counts packets that were sent.
func (f *fast) count(pkts [][]byte) {
	if len(pkts) == 0 {
		return
	}
	bytes := 0
	for _, p := range pkts {
		bytes += len(p)
	}
	f.c.counters.sent(len(pkts), bytes)
}

// refusesRun reports whether err says that a run of so many packets cannot be sent, and
// sees to it that they are sent one by one.
func (f *fast) refusesRun(err error, packets int) bool {
	switch {
	case errors.Is(err, unix.EIO): // the interface sums nothing
		f.runs = false
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EMSGSIZE): // not these: the path's MTU
		f.apart = packets
	default:
		return false
	}
	return true
}
