package forward

import (
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"l3extract/internal/netstack"
	"l3extract/tcp"
)

// verdict is what came of a look at one direction.
type verdict uint8

const (
	waits     verdict = iota // an event will tell when there is more to do
	again                    // there is more to do, after others
	finished                 // in order
	stuck                    // until the packet conn takes more
	noClient                 // the stream failed, with err
	noServer                 // the socket failed, with err
	cutClient                // as noServer, and nothing more can come from the socket
)

// upwards moves what the client sends, and its end.
func (p *pair) upwards() {
	p.up.Lock()
	v, err := p.moveUp()
	p.up.Unlock()
	if v == again {
		p.post(canUp)
		return
	}
	p.conclude(v, err)
}

// moveUp does it. The caller holds up.
func (p *pair) moveUp() (verdict, error) {
	if p.phase.Load() != relaying || p.upDone {
		return waits, nil
	}
	p.full = false
	for moved := 0; moved < share; {
		n, had, own, sys := p.st.Send(p.sock.FD)
		moved += n
		switch {
		case n > 0 && n < had, sys == unix.EAGAIN:
			p.full = true // the socket tells of room
			return waits, nil
		case n > 0:
		case own == netstack.ErrWouldBlock:
			return waits, nil
		case own == io.EOF:
			p.upDone = true
			p.half.Store(true)
			_ = unix.Shutdown(p.sock.FD, unix.SHUT_WR) // fails if the server has gone, which the other direction finds out
			return finished, nil
		case own != nil:
			return noClient, own
		default:
			// The server may have said something before it went: that is passed on
			// first.
			p.upDone = true
			p.half.Store(true)
			p.lost = os.NewSyscallError("write", sys)
			return noServer, p.lost
		}
	}
	return again, nil
}

// downwards moves what the server sends, and its end, through whose buffer it is.
func (p *pair) downwards(whose int) {
	p.down.Lock()
	v, err := p.moveDown(p.loop.buffers[whose][:])
	p.down.Unlock()
	switch v {
	case again:
		p.post(canDown)
	case stuck:
		// The one who asks for the signal is the one who waits for it.
		if wait, clear := p.st.Clear(); clear {
			p.post(canDown)
		} else {
			p.loop.stalled(p, wait)
		}
	default:
		p.conclude(v, err)
	}
}

// moveDown does it. The caller holds down.
func (p *pair) moveDown(buffer []byte) (verdict, error) {
	if p.phase.Load() != relaying || p.downDone {
		return waits, nil
	}
	for moved := 0; moved < share; {
		if len(p.pending) > 0 {
			n, err := p.st.Write(p.pending)
			if err != nil {
				return noClient, err
			}
			if p.keep(p.pending[n:]); len(p.pending) > 0 {
				return waits, nil
			}
		}
		if !p.in {
			return waits, nil
		}
		if _, clear := p.st.Clear(); !clear {
			return stuck, nil
		}
		room, ok := p.st.Room()
		if !ok {
			return waits, nil
		}
		b := buffer[:min(room, len(buffer))]
		n, err := read(p.sock.FD, b)
		switch {
		case err == unix.EAGAIN:
			p.in = false
			return waits, nil
		case err != nil:
			p.downDone = true
			return cutClient, os.NewSyscallError("read", err)
		case n == 0:
			p.downDone = true
			p.half.Store(true)
			_ = p.st.Stream().CloseWrite() // fails if the stream has ended, which the other direction finds out
			return finished, nil
		}
		if n < len(b) && !p.hup {
			p.in = false // what comes from now on is a new edge, but for what is behind urgent data
		}
		moved += n
		took, err := p.st.Write(b[:n])
		if err != nil {
			return noClient, err
		}
		if took < n {
			p.keep(append([]byte(nil), b[took:n]...))
		}
	}
	return again, nil
}

// keep makes b what came out of the socket and waits for the engine. The caller holds
// down.
func (p *pair) keep(b []byte) {
	if n := len(b) - len(p.pending); n != 0 {
		p.st.Keep(n) // counts for the stack's memory
	}
	if p.pending = b; len(b) == 0 {
		p.pending = nil
	}
}

// read is recv(2) that never waits, whatever signals come and whoever has changed the
// socket's flags. So Go's scheduler is not told of it (RawSyscall), as package unix would.
func read(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// conclude does what a look at a direction found out. The caller holds no lock.
func (p *pair) conclude(v verdict, err error) {
	switch v {
	case noServer:
		p.st.Discard()
		fallthrough
	case finished:
		if p.ends.Add(1) == 2 {
			p.finish()
		}
	case noClient:
		p.clientGone(err)
	case cutClient:
		p.loop.n.cut(p.st.Stream(), err) // before the end, which Serve may be waiting for
		p.end(true)
	}
}

// finish ends p, both of whose directions have ended.
func (p *pair) finish() {
	st := p.st.Stream()
	p.up.Lock()
	lost := p.lost
	p.up.Unlock()
	if lost != nil {
		p.loop.n.cut(st, lost) // before the end, which Serve may be waiting for
		p.end(true)
		return
	}
	_ = st.Close() // what is still in flight is the stack's business
	p.end(false)
}

// cut gives an error of the socket to the client, behind the bytes that came before it.
func (n *session) cut(st *tcp.Stream, err error) {
	cause := upstreamCause(err)
	if settled(st) {
		_ = st.ResetCause(cause)
		return
	}
	n.flows.Go(func() { // bounded by the second that settle takes
		settle(st)
		_ = st.ResetCause(cause)
	})
}
