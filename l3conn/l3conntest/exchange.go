package l3conntest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"l3extract/l3conn"
)

// patience is how long the suite waits for something that must happen.
const patience = 20 * time.Second

// received is one outcome of the receiving end.
type received struct {
	packet []byte
	err    error
}

// receiver reads an end until it fails.
type receiver struct {
	l *link
	c chan received // closed when the reader has ended; unbounded in practice: sized to what a subtest sends
}

// receive starts to read the receiving end, packet by packet. Its goroutine
// ends with the first error that is not transient; stop of the pair is what
// causes it at the latest.
func (l *link) receive() *receiver {
	r := &receiver{l, make(chan received, 1<<14)}
	go func() {
		defer close(r.c)
		buf, idle := make([]byte, 65535), 0
		for {
			n, err := l.to.Conn.Read(buf)
			if n > 0 {
				idle = 0
				if l.mine(buf[:n]) {
					r.c <- received{packet: bytes.Clone(buf[:n])}
				}
			}
			switch {
			case err == nil && n == 0:
				if idle++; idle == 100 {
					r.c <- received{err: io.ErrNoProgress}
					return
				}
			case err != nil && l3conn.Transient(err):
				// (0, nil) by another name
			case err != nil:
				r.c <- received{err: err}
				return
			}
		}
	}()
	return r
}

// next returns the next packet, and fails the test when none comes.
func (r *receiver) next() []byte {
	r.l.t.Helper()
	select {
	case got, ok := <-r.c:
		if !ok || got.err != nil {
			r.l.t.Fatalf("Read: %v", got.err)
		}
		return got.packet
	case <-time.After(patience):
		r.l.t.Fatal("packet lost: nothing read")
	}
	return nil
}

// want reads the next packet and compares it.
func (r *receiver) want(p []byte) {
	r.l.t.Helper()
	if got := r.next(); !r.l.same(got, p) {
		r.l.t.Fatalf("read %d bytes, number %d: %x\nwant %d bytes, number %d: %x",
			len(got), r.l.seq(got), head(got), len(p), r.l.seq(p), head(p))
	}
}

func head(p []byte) []byte { return p[:min(len(p), 48)] }

// send writes p; a conn that never waits may have no room for a moment.
func (l *link) send(p []byte) {
	l.t.Helper()
	if err := l.write(p); err != nil {
		l.t.Fatal(err)
	}
}

// write is send for other goroutines than the test's.
func (l *link) write(p []byte) error {
	for give := time.Now().Add(patience); ; {
		n, err := l.from.Conn.Write(p)
		switch {
		case err == nil && n != len(p):
			return fmt.Errorf("a Write took %d of %d bytes without an error", n, len(p))
		case err == nil:
			return nil
		case !l3conn.Transient(err) || errors.Is(err, l3conn.ErrTooLong) || time.Now().After(give):
			return err
		}
	}
}

// finally waits for what a goroutine of the suite reports.
func finally[T any](l *link, c <-chan T, what string) T {
	l.t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		l.t.Fatal("still blocked: " + what)
		panic("unreachable")
	}
}
