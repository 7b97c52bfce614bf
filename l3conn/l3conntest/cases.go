package l3conntest

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"syscall"
	"time"

	"l3extract/l3conn"
)

func whole(l *link) {
	r := l.receive()
	var sizes []int
	for size := l.smallest(); size < l.mtu; {
		sizes = append(sizes, size)
		if size < 130 || size > l.mtu-8 {
			size++
		} else {
			size = min(size+size/13, max(size+1, l.mtu-8))
		}
	}
	sizes = append(sizes, l.mtu)
	for at := 0; at < len(sizes); at += InFlight {
		group := sizes[at:min(at+InFlight, len(sizes))]
		for i, size := range group {
			l.send(l.packet(at+i, size))
		}
		for i, size := range group {
			r.want(l.packet(at+i, size))
		}
	}
}

func order(l *link) {
	r := l.receive()
	const n = 1000
	window := make(chan struct{}, InFlight)
	failed := make(chan error, 1)
	go func() { // ends after n packets: what it waits for is given below, or the pair is stopped
		for i := range n {
			window <- struct{}{}
			if err := l.write(l.packet(i, l.smallest()+i%200)); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	for i := range n {
		r.want(l.packet(i, l.smallest()+i%200))
		<-window
	}
	if err := finally(l, failed, "the writer"); err != nil {
		l.t.Fatal(err)
	}
}

func concurrentWriters(l *link) {
	r := l.receive()
	const writers, each = 4, 256
	window := make(chan struct{}, InFlight)
	failed := make(chan error, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() { // ends after its packets; awaited below
			for i := range each {
				window <- struct{}{}
				seq := w*each + i
				if err := l.write(l.packet(seq, l.smallest()+seq%300)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	var next [writers]int
	for range writers * each {
		got := r.next()
		seq := l.seq(got)
		if seq >= writers*each || !l.same(got, l.packet(seq, l.smallest()+seq%300)) {
			l.t.Fatalf("packets mixed up: %x", head(got))
		}
		if w, i := seq/each, seq%each; next[w] != i {
			l.t.Fatalf("writer %d: packet %d instead of %d", w, i, next[w])
		}
		next[seq/each]++
		<-window
	}
	all.Wait()
	select {
	case err := <-failed:
		l.t.Fatal(err)
	default:
	}
}

func buffers(l *link) {
	const n = InFlight
	for i := range n {
		p := l.packet(i, 100)
		before := bytes.Clone(p)
		l.send(p)
		if !bytes.Equal(p, before) {
			l.t.Fatal("Write changed its packet")
		}
		l.spoil(p)
	}
	var kept [n][]byte
	for i := range n {
		kept[i] = l.readOne(make([]byte, 65535))
	}
	for i := range n {
		if !l.same(kept[i], l.packet(i, 100)) {
			l.t.Fatalf("packet %d changed: %x", i, head(kept[i]))
		}
	}
}

// spoil overwrites what lies behind the header of a packet that was written: a
// conn that kept the slice sends that.
func (l *link) spoil(p []byte) {
	for i := l.smallest(); i < len(p); i++ {
		p[i] = 0xee
	}
}

// readOne reads the next packet of the suite into buf; the caller knows that
// one is under way.
func (l *link) readOne(buf []byte) []byte {
	l.t.Helper()
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() { // ends with the packet under way, or when the pair is stopped
		for {
			n, err := l.to.Conn.Read(buf)
			if err == nil && !l.mine(buf[:n]) || err != nil && l3conn.Transient(err) {
				continue
			}
			done <- result{n, err}
			return
		}
	}()
	got := finally(l, done, "Read")
	if got.err != nil {
		l.t.Fatal(got.err)
	}
	return buf[:got.n]
}

func shortBuffer(l *link) {
	l.send(l.packet(1, 200))
	l.send(l.packet(2, 120))
	for buf := make([]byte, 199); ; {
		n, err := l.to.Conn.Read(buf)
		if err == nil && !l.mine(buf[:n]) {
			continue // a packet of the link's own, which fitted
		}
		if n != 0 || !errors.Is(err, io.ErrShortBuffer) || !l3conn.Transient(err) {
			l.t.Fatalf("Read of 200 bytes into 199: %d, %v", n, err)
		}
		break
	}
	if got := l.readOne(make([]byte, 120)); !l.same(got, l.packet(2, 120)) {
		l.t.Fatalf("after a short buffer: %x", head(got))
	}
}

func tooLong(l *link) {
	n, err := l.from.Conn.Write(l.packet(1, l.from.MTU()+1))
	if err != nil && (n != 0 || !errors.Is(err, syscall.EMSGSIZE) || !l3conn.Transient(err)) {
		l.t.Fatalf("packet longer than the MTU: %d, %v", n, err)
	}
	l.send(l.packet(2, 100))
	buf := make([]byte, 65535)
	got := l.readOne(buf)
	if err == nil && l.seq(got) == 1 {
		if !l.same(got, l.packet(1, l.from.MTU()+1)) {
			l.t.Fatal("packet longer than the MTU was cut")
		}
		got = l.readOne(buf)
	}
	if !l.same(got, l.packet(2, 100)) {
		l.t.Fatalf("after a packet that was too long: %x", head(got))
	}
}

func mtu(l *link) {
	if m := l.from.MTUer.MTU(); m < 68 || m > 65535 {
		l.t.Fatalf("MTU %d", m)
	}
}

// leaks opens a pair of its own, so that it knows what ran before.
func leaks(l *link) {
	l.stop()
	for range 3 {
		before := runtime.NumGoroutine()
		again := l.cfg.link(l.t, l.open, false)
		r := again.receive()
		again.send(again.packet(1, 100))
		r.want(again.packet(1, 100))
		again.stop()
		for give := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Now().After(give) {
				buf := make([]byte, 1<<16)
				l.t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(),
					buf[:runtime.Stack(buf, true)])
			}
		}
	}
}
