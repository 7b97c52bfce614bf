package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"l3extract/internal/epoll"
	"l3extract/stack"
	"l3extract/udp"
)

// upstreams watches the upstream sockets of a session with one goroutine, which is
// started for the first of them.
type upstreams struct {
	once   sync.Once
	poller *epoll.Poller // nil: there can be none
	runs   sync.WaitGroup
	recv   *receiver // of the poller's goroutine
}

// loop returns the poller, or nil.
func (u *upstreams) loop() *epoll.Poller {
	u.once.Do(func() {
		p, err := epoll.New()
		if err != nil {
			return // too many files are open: every socket has its goroutines then
		}
		u.poller = p
		u.recv = newReceiver()
		u.runs.Go(func() { // ends with close, which awaits it
			_ = p.Run(context.Background()) // epoll_wait does not fail
		})
	})
	return u.poller
}

// close ends the goroutine. No socket is left.
func (u *upstreams) close() {
	u.once.Do(func() {})
	if u.poller != nil {
		_ = u.poller.Close() // returns nil
		u.runs.Wait()
	}
}

// upstream is the descriptor of an upstream socket that a poller watches. The
// runtime's knows it no longer.
type upstream struct {
	s   *socket
	fd  int
	reg *epoll.Registration
	six bool // AF_INET6, so that IPv4 addresses are mapped

	// Of the poller's goroutine.
	from     sender
	failures int // in a row

	// Of who owns the socket, see evented.
	single bool // the system does not take runs of datagrams from here
	apart  int  // so many datagrams that come next are not sent as a run
	wait   bool // for room: EPOLLOUT is asked for
}

// receiveBuffer is asked for each socket, in bytes; the system gives what net.core.rmem_max
// allows. The goroutine that empties them may be busy for some milliseconds, in
// which a client that downloads gets more than the usual 208 KiB.
const receiveBuffer = 1 << 20

// adopt takes the descriptor out of o's conn and gives it to the poller; false if
// it cannot, and nothing has changed. The conn is the Server's: PacketListener made
// it for that.
func (s *socket) adopt(o *outlet) bool {
	c, ok := o.conn.(*net.UDPConn)
	if !ok || o.raw == nil {
		return false
	}
	loop := s.session.upstreams.loop()
	if loop == nil {
		return false
	}
	u := &upstream{s: s, fd: -1}
	err := o.raw.Control(func(fd uintptr) {
		u.fd, _ = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) // -1 with its error
	})
	if err != nil || u.fd < 0 {
		return false
	}
	domain, err := unix.GetsockoptInt(u.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	u.six = domain == unix.AF_INET6
	// Both are for speed only.
	_ = unix.SetsockoptInt(u.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	_ = unix.SetsockoptInt(u.fd, unix.SOL_UDP, unix.UDP_GRO, 1)
	if err == nil {
		u.reg, err = loop.Add(u.fd, unix.EPOLLIN, u)
	}
	if err != nil {
		_ = unix.Close(u.fd)
		return false
	}
	_ = c.Close() // the duplicate lives on
	o.up = u
	return true
}

// close closes the descriptor, once the poller has no use for it any more.
func (u *upstream) close() {
	u.reg.RemoveThen(func() { _ = unix.Close(u.fd) }) // nothing is in it that could be lost
}

// await asks to be told when there is room to send, or no longer.
func (u *upstream) await(room bool) {
	if u.wait == room {
		return
	}
	u.wait = room
	events := uint32(unix.EPOLLIN)
	if room {
		events |= unix.EPOLLOUT
	}
	_ = u.reg.Modify(events) // fails once the poller is closed, and the Socket with it
}

// Ready implements epoll.Handler.
func (u *upstream) Ready(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		u.s.wake()
	}
	if events&unix.EPOLLERR != 0 { // which is reported until there is nothing left of it
		if u.faults(u.s.faulted) {
			u.failures = 0
		} else {
			u.clearError()
		}
	}
	if events&^(unix.EPOLLOUT|unix.EPOLLERR) == 0 {
		return
	}
	// A busy socket is left for the others after a while; it is reported again.
	r := u.s.session.upstreams.recv
	for range 4 {
		n, err := r.receive(u.fd)
		if err != nil {
			u.failed(err)
			return
		}
		if n > 0 {
			u.failures = 0
			u.inwards(r, n)
		}
		if n < len(r.hdrs) {
			return
		}
	}
}

// failed judges an error. One that upstream got by ICMP is no reason to end (RFC
// 4787, REQ-10); what goes on and on is.
func (u *upstream) failed(err error) {
	if u.faults(u.s.faulted) {
		u.failures = 0
		return
	}
	if u.failures++; u.failures == maxFailures {
		u.s.sock.Kill(fmt.Errorf("%w: %w", stack.ResetByUpstream, err))
	}
}

// inwards gives n datagrams, or runs of them, to the client.
func (u *upstream) inwards(r *receiver, n int) {
	stats := u.s.session.stats
	msgs := r.msgs[:0]
	for i := range n {
		b, segment, src := r.datagram(i)
		u.s.from(&u.from, nil, origin{addr: src})
		if u.from.why != nil {
			stats.policyDatagrams.Add(datagrams(len(b), segment))
			continue
		}
		msgs = append(msgs, udp.Message{Buffer: b, Segment: segment, Source: u.from.name})
	}
	for again := false; len(msgs) > 0; {
		k, err := u.s.sock.WriteBatch(msgs)
		for i := range msgs[:k] {
			stats.datagramsIn.Add(datagrams(len(msgs[i].Buffer), msgs[i].Segment))
		}
		msgs = msgs[k:]
		again = again && k == 0
		switch {
		case err == nil:
		case !again && told(err):
			again = true
		default:
			stats.datagramsLost.Add(datagrams(len(msgs[0].Buffer), msgs[0].Segment))
			msgs, again = msgs[1:], false
		}
	}
}

// datagrams returns how many there are in size bytes.
func datagrams(size, segment int) uint64 {
	if segment <= 0 || segment >= size {
		return 1
	}
	return uint64((size + segment - 1) / segment)
}

// maxFaults is how many errors are taken out of the queue at a time: a flood of them
// must not keep the poller, nor the goroutine that reads the stack's conn.
const maxFaults = 16

// faults takes errors out of the queue, see readFault, and reports whether there were
// any. If some are left the poller is told again, and the next call does not fail because
// of them. It may be called by who owns the socket and by the poller's goroutine.
func (u *upstream) faults(tell func(queuedFault)) (any bool) {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	for range maxFaults {
		q, more := readFault(u.fd, b[:])
		if !more {
			return any
		}
		any = true
		tell(q)
	}
	u.clearError()
	return true
}

// clearError takes the error that is pending, and leaves the queue alone. It may be
// pending without one that is queued: the kernel queues an ICMP error, wakes the poller
// and only then sets the socket's error. Whoever empties the queue in between leaves
// that behind.
func (u *upstream) clearError() {
	_, _ = unix.GetsockoptInt(u.fd, unix.SOL_SOCKET, unix.SO_ERROR) // the queue tells of it
}

// send sends one datagram, with so many hops; 0 is the system's default. It does not
// wait: a socket that has just been opened has room.
func (u *upstream) send(b []byte, to netip.AddrPort, hops uint8) error {
	var oob []byte
	if hops != 0 {
		oob = hopControl(u.six, hops)
	}
	for {
		err := unix.Sendmsg(u.fd, b, oob, u.sockaddr(to), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("sendmsg", err)
		}
	}
}

func (u *upstream) sockaddr(to netip.AddrPort) unix.Sockaddr {
	if !u.six {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}
