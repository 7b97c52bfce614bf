package epoll

import (
	"math"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Registration is one descriptor in a Poller.
type Registration struct {
	p       *Poller
	handler Handler
	fd      int
	index   uint32

	state atomic.Uint32 // running, removed
	then  func()        // after the Handler that runs; set before removed is

	gone bool // p.mu guards it
}

const (
	running = 1 << iota // the Handler is being called
	removed             // and is not to be called again
)

// Add watches fd for events (unix.EPOLLIN and so on, with unix.EPOLLET for
// changes only) and tells h of them, at once if something is there already. The
// caller keeps fd and closes it, after Remove. It fails with net.ErrClosed once
// the Poller is closed.
func (p *Poller) Add(fd int, events uint32, h Handler) (*Registration, error) {
	if fd < 0 || fd > math.MaxInt32 {
		return nil, os.NewSyscallError("epoll_ctl", unix.EBADF)
	}
	r := &Registration{p: p, handler: h, fd: fd}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	if p.free == 0 {
		p.slots = append(p.slots, slot{})
		p.free = uint32(len(p.slots))
	}
	r.index = p.free - 1
	s := &p.slots[r.index]
	if err := p.control(unix.EPOLL_CTL_ADD, fd, events, r.index); err != nil {
		return nil, err
	}
	p.free, s.next, s.reg = s.next, 0, r
	p.live++
	return r, nil
}

// control is epoll_ctl for the slot of that index.
func (p *Poller) control(op, fd int, events, index uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(index), Pad: int32(p.slots[index].generation)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, fd, &e))
}

// Modify watches for other events from now on. What is there already is told once
// more, with unix.EPOLLET too: a Handler that leaves something for later calls it
// to be called again, after the others. It fails with net.ErrClosed after Remove
// and once the Poller is closed.
func (r *Registration) Modify(events uint32) error {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.gone || r.p.closed {
		return errClosed
	}
	return r.p.control(unix.EPOLL_CTL_MOD, r.fd, events, r.index)
}

// Remove ends the registration. The Handler is not called again, but a call that
// has begun may still run. It must come before the close of the descriptor, and
// may be called any number of times.
func (r *Registration) Remove() { r.RemoveThen(nil) }

// RemoveClosing is Remove for a descriptor that the caller closes next, holding off
// the Handler, and that has no duplicate: the close takes it out, without a system call
// of its own for that.
func (r *Registration) RemoveClosing() { r.remove(nil, false) }

// RemoveThen is Remove, and calls then once the Handler no longer runs: at once
// on this goroutine, or, while it runs, behind it on the goroutine of Run. It is
// where a descriptor that the Handler uses is closed. After the first call it
// does nothing.
func (r *Registration) RemoveThen(then func()) { r.remove(then, true) }

func (r *Registration) remove(then func(), control bool) {
	p := r.p
	p.mu.Lock()
	if r.gone {
		p.mu.Unlock()
		return
	}
	r.gone = true
	if control && !p.closed {
		_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, r.fd, nil) // fails if it was closed too early
	}
	s := &p.slots[r.index]
	s.reg = nil
	s.generation++
	s.next, p.free = p.free, r.index+1
	p.live--
	r.then = then
	busy := r.state.Or(removed)&running != 0
	p.mu.Unlock()
	if !busy && then != nil {
		then()
	}
}

// call calls the Handler, unless the registration has been removed.
func (r *Registration) call(events uint32) {
	if !r.state.CompareAndSwap(0, running) {
		return
	}
	r.handler.Ready(events)
	if !r.state.CompareAndSwap(running, 0) && r.then != nil {
		r.then()
	}
}
