package hop

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// early is a connection whose proxy has been asked and has not answered yet, see
// outbound.EarlyDialer.
type early struct {
	net.Conn
	read    func(r io.Reader) error // reads the answer
	fail    func(err error) error   // what an error of it is for the caller
	late    *time.Timer             // gives up; nil: never
	expired atomic.Bool             // it has
	decided chan struct{}           // closed when the answer is there, or none will be
	err     error                   // why it was refused; set before decided is closed

	mu    sync.Mutex // held while the answer is read, which Close and the timer end
	heard replay     // what is there of it
}

// Early returns c, to which a request has been written, as a conn whose first Read
// reads the answer. What fails with it is given to fail, for the error of that and
// all later calls. It is given up after p's Timeout.
func (p *Proxy) Early(c net.Conn, read func(r io.Reader) error, fail func(err error) error) net.Conn {
	e := &early{Conn: c, read: read, fail: fail, decided: make(chan struct{}), heard: replay{r: c}}
	timeout := p.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	if timeout > 0 {
		e.mu.Lock() // it may be time at once
		e.late = time.AfterFunc(timeout, e.giveUp)
		e.mu.Unlock()
	}
	return e
}

// giveUp ends the wait for the answer.
func (e *early) giveUp() {
	if e.answered() {
		return
	}
	e.expired.Store(true)
	_ = e.Conn.Close() // ends who reads
	e.mu.Lock()
	defer e.mu.Unlock()
	e.decide(errTimeout{})
}

func (e *early) answered() bool {
	select {
	case <-e.decided:
		return true
	default:
		return false
	}
}

// refused returns why the request was refused, if that is known.
func (e *early) refused() error {
	if e.answered() {
		return e.err
	}
	return nil
}

// decide says, once, what became of the request. The caller holds mu.
func (e *early) decide(err error) {
	if e.answered() {
		return
	}
	if e.late != nil {
		e.late.Stop()
	}
	if err != nil {
		e.err = e.fail(err)
		_ = e.Conn.Close() // it is of no use
	}
	e.heard = replay{}
	close(e.decided)
}

// answer reads the answer, or what is left of it.
func (e *early) answer() error {
	if e.answered() {
		return e.err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.answered() { // by another Read
		return e.err
	}
	e.heard.from = 0
	err := e.read(&e.heard)
	switch below := e.heard.err; {
	case e.expired.Load():
		err = errTimeout{}
	case below != nil && (isTimeout(below) || errors.Is(below, net.ErrClosed)):
		return below // a deadline that passed, or Close: the caller's own doing
	}
	e.decide(err)
	return e.err
}

// Read returns what comes behind the answer. A deadline that passes before leaves the
// rest of the answer to the next call.
func (e *early) Read(b []byte) (int, error) {
	if err := e.answer(); err != nil {
		return 0, err
	}
	return e.Conn.Read(b)
}

// Write sends what the destination is to get, if there will be one.
func (e *early) Write(b []byte) (int, error) {
	if err := e.refused(); err != nil {
		return 0, err
	}
	return e.Conn.Write(b)
}

// Close ends the connection.
func (e *early) Close() error {
	if e.late != nil {
		e.late.Stop()
	}
	return e.Conn.Close()
}

// NetConn returns the connection to the proxy.
func (e *early) NetConn() net.Conn { return e.Conn }

// CloseWrite ends what is sent.
func (e *early) CloseWrite() error {
	if err := e.refused(); err != nil {
		return err
	}
	if c, ok := e.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SetLinger is that of a *net.TCPConn.
func (e *early) SetLinger(sec int) error {
	if c, ok := e.Conn.(interface{ SetLinger(sec int) error }); ok {
		return c.SetLinger(sec)
	}
	return errors.ErrUnsupported
}

// replay reads from r and remembers it, so that it can be read again.
type replay struct {
	r    io.Reader
	got  []byte
	from int
	err  error // r's last
}

func (r *replay) Read(b []byte) (int, error) {
	if r.from < len(r.got) {
		n := copy(b, r.got[r.from:])
		r.from += n
		return n, nil
	}
	n, err := r.r.Read(b)
	r.got = append(r.got, b[:n]...)
	r.from, r.err = len(r.got), err
	return n, err
}
