package netstack

import (
	"io"
	"sync"
	"syscall"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
)

const (
	errReset   = syscall.ECONNRESET
	errAborted = syscall.ECONNABORTED
)

// sliceWriter takes the engine's received bytes into one slice. A short write
// must say so with an error: the engine asserts on n < len with a nil one.
type sliceWriter struct {
	b []byte
	n int
}

func (w *sliceWriter) Write(p []byte) (int, error) {
	n := copy(w.b[w.n:], p)
	w.n += n
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// sliceReader is the engine's Payloader over one slice. Len must be exact: the
// engine spins for ever on a Payloader that promises more than it yields.
type sliceReader struct{ b []byte }

func (r *sliceReader) Len() int { return len(r.b) }

func (r *sliceReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// sliceCollector gathers the received chunks themselves.
type sliceCollector struct{ vec [][]byte }

func (c *sliceCollector) Write(p []byte) (int, error) {
	c.vec = append(c.vec, p)
	if len(c.vec) == cap(c.vec) {
		return len(p), io.ErrShortWrite // enough; the engine stops asking
	}
	return len(p), nil
}

// What the engine is given as an io.Writer escapes: these spare an allocation per call.
var (
	collectors = sync.Pool{New: func() any { return new(sliceCollector) }}
	discarders = sync.Pool{New: func() any { return new(sliceDiscarder) }}
)

func (c *sliceCollector) put() {
	c.vec = nil // the caller's
	collectors.Put(c)
}

// sliceDiscarder counts bytes away.
type sliceDiscarder struct{ left int }

func (d *sliceDiscarder) Write(p []byte) (int, error) {
	if len(p) <= d.left {
		d.left -= len(p)
		return len(p), nil
	}
	n := d.left
	d.left = 0
	return n, io.ErrShortWrite
}

// Read takes received bytes into b. It returns ErrWouldBlock when there are
// none, io.EOF after the peer's FIN and only then, and else the endpoint's hard
// error, which is the same for every caller for ever.
func (e *Endpoint) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	e.rmu.Lock()
	e.rd = sliceWriter{b: b}
	e.calls.RLock()
	res, terr := e.ep.Read(&e.rd, gtcpip.ReadOptions{})
	err := e.received(terr)
	e.calls.RUnlock()
	e.rd.b = nil
	e.rmu.Unlock()
	e.taken(res.Count)
	if err == errClosedForReceive {
		err = e.settle(io.EOF)
	}
	return res.Count, err
}

// received translates an error of the receive path and latches it if it is hard.
// The caller holds calls shared.
func (e *Endpoint) received(terr gtcpip.Error) error {
	if terr == nil {
		return nil
	}
	err := translate(terr)
	switch {
	case err == syscall.ENOTCONN:
		return errClosedForReceive // a state between two others: settle decides
	case err == syscall.EFAULT:
		return io.ErrShortBuffer
	case hard(err):
		return e.latch(err)
	}
	return err
}

// Peek appends the received chunks to vec, as many as fit its capacity, without
// taking them. They belong to the engine, which reuses their memory as soon as
// the bytes are consumed or the endpoint is closed or aborted: the caller must
// keep Read, Discard, Close and Abort out, and hold the chunks no longer than
// one system call that does not block. Errors as Read.
func (e *Endpoint) Peek(vec [][]byte) ([][]byte, error) {
	if len(vec) == cap(vec) {
		return vec, nil
	}
	c := collectors.Get().(*sliceCollector)
	c.vec = vec
	defer c.put()
	e.calls.RLock()
	_, terr := e.ep.Read(c, gtcpip.ReadOptions{Peek: true})
	err := e.received(terr)
	e.calls.RUnlock()
	if err == errClosedForReceive {
		err = e.settle(io.EOF)
	}
	if len(c.vec) > len(vec) {
		err = nil // a full vec is no error
	}
	return c.vec, err
}

// Discard consumes up to n received bytes and returns how many there were.
// Errors as Read.
func (e *Endpoint) Discard(n int) (int, error) {
	if n <= 0 {
		return 0, nil
	}
	d := discarders.Get().(*sliceDiscarder)
	defer discarders.Put(d)
	d.left = n
	e.calls.RLock()
	_, terr := e.ep.Read(d, gtcpip.ReadOptions{})
	err := e.received(terr)
	e.calls.RUnlock()
	if err == errClosedForReceive {
		err = e.settle(io.EOF)
	}
	if d.left < n {
		err = nil
	}
	e.taken(n - d.left)
	return n - d.left, err
}

// Buffered returns how many received bytes wait to be read.
func (e *Endpoint) Buffered() int {
	n, err := e.ep.GetSockOptInt(gtcpip.ReceiveQueueSizeOption)
	if err != nil {
		return 0
	}
	return n
}

// atomicWrite is the size up to which a write is copied under the engine's
// lock: two lock rounds cost more than copying this much.
const atomicWrite = 16 << 10

// Write queues as much of b as the send buffer takes and sends what the windows
// allow. It returns ErrWouldBlock when nothing fits, EPIPE after CloseWrite, and
// else the endpoint's hard error. n < len(b) with a nil error means that the
// buffer is now full.
func (e *Endpoint) Write(b []byte) (int, error) {
	total := 0
	for len(b) > 0 {
		n, err := e.write(b)
		total += n
		b = b[n:]
		if err != nil {
			if total > 0 && err == ErrWouldBlock {
				err = nil
			}
			return total, err
		}
		if n == 0 {
			break
		}
	}
	return total, nil
}

func (e *Endpoint) write(b []byte) (int, error) {
	e.wmu.Lock()
	e.wr.b = b
	e.calls.RLock()
	n, terr := e.ep.Write(&e.wr, gtcpip.WriteOptions{Atomic: len(b) <= atomicWrite})
	err := translate(terr)
	if hard(err) {
		err = e.latch(err)
	}
	e.calls.RUnlock()
	if e.flow != nil {
		e.flow.wrote(int(n))
	}
	e.wr.b = nil
	e.wmu.Unlock()
	if err == errClosedForSend {
		err = e.settle(syscall.EPIPE)
	}
	return int(n), err
}

// SendQueued returns how many bytes were taken by Write and not yet acknowledged
// by the peer, as far as its acknowledgements have told.
func (e *Endpoint) SendQueued() int {
	if e.flow == nil {
		return 0
	}
	return int(e.flow.unacked())
}
