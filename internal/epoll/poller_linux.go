package epoll

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Handler is told of what happens to a descriptor.
type Handler interface {
	// Ready is called on the goroutine in [Poller.Run] with unix.EPOLLIN and so on.
	// It must not wait.
	Ready(events uint32)
}

// Poller is an epoll instance. Make one with New; end it with Close.
type Poller struct {
	fd   int
	file *os.File // fd, watched by the runtime
	raw  syscall.RawConn

	ran chan struct{} // closed when Run has returned, or is never to run

	// Of Run's goroutine.
	ask    func(uintptr) bool // pollOnce, made once: it escapes
	events [batch]unix.EpollEvent
	n      int // of them
	err    error
	due    [batch]due

	// A leaf.
	mu     sync.Mutex
	run    bool // Run was called
	closed bool
	slots  []slot
	free   uint32 // index of the first free slot plus one; 0 is none
	live   int
}

// slot has what an event's index stands for.
type slot struct {
	reg        *Registration // nil while free
	generation uint32
	next       uint32 // as Poller.free
}

// due is an event on its way to its Handler.
type due struct {
	reg    *Registration
	events uint32
}

// batch is how many events one system call takes at most. Under load the rest
// is taken by the next, which costs what it brings.
const batch = 128

// ErrRunning is returned by the second Run of a Poller.
var ErrRunning = errors.New("epoll: Run was called already")

// New returns a Poller. It has a descriptor and no goroutine yet.
func New() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// An epoll instance never blocks to begin with; the flag tells package os to
	// give it to the runtime's poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("setnonblock", err)
	}
	p := &Poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll"), ran: make(chan struct{})}
	p.ask = p.pollOnce
	err = p.file.SetReadDeadline(time.Time{}) // fails if the runtime does not watch it
	if err == nil {
		p.raw, err = p.file.SyscallConn()
	}
	if err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("epoll: the runtime's poller does not take an epoll instance: %w", err)
	}
	return p, nil
}

// Run calls the Handlers until the Poller is closed or ctx ends. It returns nil
// after Close, and the cause of ctx. It is called once; what happened before is
// told then.
func (p *Poller) Run(ctx context.Context) error {
	p.mu.Lock()
	switch {
	case p.closed:
		p.mu.Unlock()
		return nil
	case p.run:
		p.mu.Unlock()
		return ErrRunning
	}
	p.run = true
	p.mu.Unlock()
	defer close(p.ran)
	defer context.AfterFunc(ctx, p.wake)()

	for {
		p.n, p.err = 0, nil
		n, err := p.wait()
		p.mu.Lock()
		closed := p.closed
		n = p.takeLocked(n)
		p.mu.Unlock()
		switch {
		case closed:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		}
		for i := range p.due[:n] {
			d := &p.due[i]
			d.reg.call(d.events)
			d.reg = nil
		}
	}
}

// wait waits for events and returns how many lie in p.events.
func (p *Poller) wait() (int, error) {
	// The runtime is told of each change within fd, and remembers one that comes
	// between the call of pollOnce and its own wait.
	err := p.raw.Read(p.ask)
	if p.err != nil {
		return 0, os.NewSyscallError("epoll_wait", p.err)
	}
	return p.n, err
}

// pollOnce takes what is there, and reports whether that is anything.
func (p *Poller) pollOnce(uintptr) bool {
	for {
		// It does not wait, so the scheduler need not know.
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), batch, 0, 0, 0)
		switch errno {
		case 0:
			p.n = int(n)
			return n > 0
		case unix.EINTR:
		default:
			p.err = errno
			return true
		}
	}
}

// takeLocked turns n events into those that are due, without those of
// registrations that are gone, and returns how many there are.
func (p *Poller) takeLocked(n int) int {
	k := 0
	for i := range p.events[:n] {
		e := &p.events[i]
		s := &p.slots[uint32(e.Fd)]
		if s.reg == nil || s.generation != uint32(e.Pad) {
			continue
		}
		p.due[k] = due{reg: s.reg, events: e.Events}
		k++
	}
	return k
}

// wake ends the wait of Run, now and ever after.
func (p *Poller) wake() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) } // fails once it is closed

// Close ends Run and waits for it. The descriptors that were added stay open and
// are watched no more. It may be called any number of times, but not from a
// Handler, and returns nil.
func (p *Poller) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	if first && !p.run {
		close(p.ran)
	}
	p.mu.Unlock()
	if first {
		p.wake()
	}
	<-p.ran
	if first {
		// The rest of Poller uses the descriptor under mu.
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = p.file.Close() // it holds nothing that could be lost
	}
	return nil
}

// Len returns how many descriptors are watched.
func (p *Poller) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live
}

var errClosed = fmt.Errorf("epoll: %w", net.ErrClosed)
