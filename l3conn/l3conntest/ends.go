package l3conntest

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"l3extract/l3conn"
)

// long is a time that no test waits for.
const long = time.Hour

// readLoop reads until an error that ends it, which it returns. Packets and
// transient errors are passed over, so that a link with traffic of its own
// does not end it early.
func readLoop(read func() (int, error)) <-chan error {
	done := make(chan error, 1)
	go func() { // ends with what the caller does to the conn, or when the pair is stopped
		for {
			if _, err := read(); err != nil && !l3conn.Transient(err) {
				done <- err
				return
			}
		}
	}()
	return done
}

func (l *link) plainRead() func() (int, error) {
	buf := make([]byte, 65535)
	return func() (int, error) { return l.to.Conn.Read(buf) }
}

func readDeadline(l *link) { deadlineEnds(l, l.plainRead()) }

// deadlineEnds checks every way in which a deadline ends read.
func deadlineEnds(l *link, read func() (int, error)) {
	d := l.to.ReadDeadliner
	set := func(at time.Time) {
		l.t.Helper()
		if err := d.SetReadDeadline(at); err != nil {
			l.t.Fatal("SetReadDeadline:", err)
		}
	}
	wait := func(done <-chan error, what string) {
		l.t.Helper()
		err := finally(l, done, "Read with "+what)
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			l.t.Fatalf("%s: %v is no timeout", what, err)
		}
	}
	set(time.Now().Add(-time.Second))
	wait(readLoop(read), "a deadline in the past")
	for range 10 { // some find Read blocked, some before: the outcome is one
		set(time.Time{})
		done := readLoop(read)
		set(time.Now().Add(-1))
		wait(done, "a deadline set while it blocks")
	}
	set(time.Now().Add(20 * time.Millisecond))
	wait(readLoop(read), "a deadline in the future")
	set(time.Now().Add(long))
	done := readLoop(read)
	set(time.Now().Add(20 * time.Millisecond))
	wait(done, "a deadline moved while it blocks")

	set(time.Time{})
	l.send(l.packet(1, 100))
	if got := l.readOne(make([]byte, 65535)); !l.same(got, l.packet(1, 100)) {
		l.t.Fatalf("after a deadline: %x", head(got))
	}
}

// writeDeadline fills the link until a Write blocks; a link that takes
// everything has nothing to end.
func writeDeadline(l *link) {
	const most = 1 << 13
	d := l.from.WriteDeadliner
	p := l.packet(1, 100)
	if err := d.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		l.t.Fatal("SetWriteDeadline:", err)
	}
	for range most {
		if _, err := l.from.Conn.Write(p); err != nil && !l3conn.Transient(err) {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				l.t.Fatalf("Write: %v", err)
			}
			break
		}
	}
	_ = d.SetWriteDeadline(time.Now().Add(-time.Second))
	if _, err := l.from.Conn.Write(p); !errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Fatalf("Write with a deadline in the past: %v", err)
	}
	_ = d.SetWriteDeadline(time.Time{})
	// What fills the link may still be in the way of a conn that never waits.
	r, last := l.receive(), l.packet(2, 100)
	for give := time.Now().Add(patience); ; {
		l.send(last)
		for quiet := time.After(20 * time.Millisecond); quiet != nil; {
			select {
			case got := <-r.c:
				if got.err != nil {
					l.t.Fatal("Read:", got.err)
				}
				if l.same(got.packet, last) {
					return
				}
			case <-quiet:
				quiet = nil
			}
		}
		if time.Now().After(give) {
			l.t.Fatal("nothing comes through after a write deadline")
		}
	}
}

func closing(l *link) { closeEnds(l, l.plainRead()) }

// closeEnds checks that Close ends read and the conn, round after round since
// it finds Read in different places.
func closeEnds(l *link, read func() (int, error)) {
	l.send(l.packet(1, 100))
	blocked := make(chan struct{}, 1<<14)
	done := readLoop(func() (int, error) {
		n, err := read()
		if n > 0 {
			blocked <- struct{}{} // the next Read has nothing to find
		}
		return n, err
	})
	finally(l, blocked, "Read")
	firstErr := make(chan error, 1)
	go func() { firstErr <- l.to.Closer.Close() }() // awaited below
	if err := finally(l, firstErr, "Close"); err != nil {
		l.t.Fatal("Close:", err)
	}
	if err := finally(l, done, "Read after Close"); !errors.Is(err, net.ErrClosed) {
		l.t.Fatalf("blocked Read after Close: %v is not net.ErrClosed", err)
	}
	again := make(chan error, 1)
	go func() { again <- l.to.Closer.Close() }() // awaited below
	finally(l, again, "second Close")
	for range 3 {
		if n, err := read(); n != 0 || !errors.Is(err, net.ErrClosed) {
			l.t.Fatalf("Read after Close: %d, %v", n, err)
		}
		if n, err := l.to.Conn.Write(l.packet(1, 100)); n != 0 || !errors.Is(err, net.ErrClosed) {
			l.t.Fatalf("Write after Close: %d, %v", n, err)
		}
	}
}

func batchRead(l *link) {
	b := l.to.BatchReader
	size := b.BatchSize()
	if size < 1 {
		l.t.Fatalf("BatchSize %d", size)
	}
	bufs, sizes := make([][]byte, size+3), make([]int, size+3)
	for i := range bufs {
		bufs[i] = make([]byte, max(l.mtu, 2048))
	}
	read := func() (int, error) {
		n, err := b.ReadBatch(bufs, sizes)
		if n > size {
			return n, errors.New("ReadBatch gave more than BatchSize")
		}
		return n, err
	}
	// Packets of one burst come in order, in however many batches.
	for seq := 0; seq < 10*InFlight; seq += InFlight {
		for i := range InFlight {
			l.send(l.packet(seq+i, 100+i))
		}
		l.wantBatches(read, bufs, sizes, seq, InFlight)
	}
	if n, err := b.ReadBatch(nil, nil); n != 0 || err != nil && !l3conn.Transient(err) {
		l.t.Fatalf("ReadBatch without room: %d, %v", n, err)
	}
	l.batchShort()
	if l.to.ReadDeadliner != nil {
		deadlineEnds(l, read)
	}
	if l.to.Closer != nil {
		closeEnds(l, read)
	}
}

// wantBatches reads until packets seq to seq+n-1 have come.
func (l *link) wantBatches(read func() (int, error), bufs [][]byte, sizes []int, seq, n int) {
	l.t.Helper()
	done := make(chan error, 1)
	go func() { // ends with the packets under way, or when the pair is stopped
		for got := 0; got < n; {
			k, err := read()
			for i := range k {
				if p := bufs[i][:sizes[i]]; l.mine(p) {
					if !l.same(p, l.packet(seq+got, 100+got)) {
						done <- errors.New("ReadBatch: packets out of order or changed")
						return
					}
					got++
				}
			}
			if err != nil && !l3conn.Transient(err) {
				done <- err
				return
			}
		}
		done <- nil
	}()
	if err := finally(l, done, "ReadBatch"); err != nil {
		l.t.Fatal(err)
	}
}

// batchShort: a packet that does not fit is lost, its neighbours are not.
func (l *link) batchShort() {
	l.t.Helper()
	b := l.to.BatchReader
	l.send(l.packet(1, 100))
	l.send(l.packet(2, 900))
	l.send(l.packet(3, 101))
	bufs, sizes := make([][]byte, b.BatchSize()), make([]int, b.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 899)
	}
	done := make(chan error, 1)
	go func() { // ends with the packets under way, or when the pair is stopped
		for want := 1; want <= 3; {
			k, err := b.ReadBatch(bufs, sizes)
			for i := range k {
				p := bufs[i][:sizes[i]]
				if l.mine(p) {
					if seq := l.seq(p); seq < want || seq == 2 || !l.same(p, l.packet(seq, 100+seq/3)) {
						done <- errors.New("ReadBatch with a short buffer: wrong packet")
						return
					}
					want = l.seq(p) + 1
				}
			}
			if err != nil && !errors.Is(err, io.ErrShortBuffer) && !l3conn.Transient(err) {
				done <- err
				return
			}
		}
		done <- nil
	}()
	if err := finally(l, done, "ReadBatch with a short buffer"); err != nil {
		l.t.Fatal(err)
	}
}

func batchWrite(l *link) {
	r := l.receive()
	for _, n := range []int{0, 1, 2, InFlight} {
		pkts, kept := make([][]byte, n), make([][]byte, n)
		for i := range n {
			pkts[i] = l.packet(i, 100+i)
			kept[i] = pkts[i]
		}
		if got, err := l.from.BatchWriter.WriteBatch(pkts); got != n || err != nil {
			l.t.Fatalf("WriteBatch of %d packets: %d, %v", n, got, err)
		}
		for i := range n {
			l.spoil(kept[i])
			pkts[i] = nil
		}
		for i := range n {
			r.want(l.packet(i, 100+i))
		}
	}
}
