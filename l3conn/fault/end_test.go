package fault

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/l3conn"
)

// both is d in both directions.
func both(d Direction) *Config { return &Config{In: d, Out: d} }

func open(t testing.TB, conn l3conn.Conn, cfg *Config) *Conn {
	t.Helper()
	c, err := New(conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCloseDropsWhatIsUnderWay: and counts it, ends a blocked Read, and can be
// repeated by several at once.
func TestCloseDropsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := l3conn.Pipe(0, 0)
		c := open(t, x, both(Direction{Delay: time.Second}))
		for i := range 7 {
			c.Write(numbered(i, 60))
			y.Write(numbered(i, 60))
		}
		read := make(chan error)
		go func() { // ends with Close
			_, err := c.Read(make([]byte, 100))
			read <- err
		}()
		synctest.Wait()
		closed := make(chan error)
		for range 3 {
			go func() { closed <- c.Close() }() // awaited below
		}
		for range 3 {
			if err := <-closed; err != nil {
				t.Error(err)
			}
		}
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("blocked Read: %v", err)
		}
		if s := c.Stats(); s.Out.Closed != 7 || s.In.Closed != 7 || s.Out.UnderWay != 0 || s.In.UnderWay != 0 {
			t.Errorf("%+v", s)
		}
		balanced(t, c.Stats().In)
		balanced(t, c.Stats().Out)
		if n, err := c.Write(numbered(1, 60)); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Close: %d, %v", n, err)
		}
	})
}

// readable hides all but Read, Write and the read deadline of a pipe.
type readable struct{ p *l3conn.PipeEnd }

func (r readable) Read(b []byte) (int, error)        { return r.p.Read(b) }
func (r readable) Write(b []byte) (int, error)       { return r.p.Write(b) }
func (r readable) SetReadDeadline(t time.Time) error { return r.p.SetReadDeadline(t) }

// TestCloseWithoutClose: a conn that has only a deadline gets its goroutine ended by
// it, and is its owner's again.
func TestCloseWithoutClose(t *testing.T) {
	x, y := l3conn.Pipe(0, 0)
	c := open(t, readable{x}, both(Direction{Drop: never}))
	y.Write(numbered(1, 60))
	if n, err := c.Read(make([]byte, 100)); n != 60 || err != nil {
		t.Fatal(n, err)
	}
	if l3conn.Probe(c).Closer != nil {
		t.Error("a Close out of nothing")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	y.Write(numbered(2, 60))
	if n, err := x.Read(make([]byte, 100)); n != 60 || err != nil {
		t.Errorf("the conn below after Close: %d, %v", n, err)
	}
}

// TestDeadConnIsLeft: a conn that nothing can end keeps Close from nothing.
func TestDeadConnIsLeft(t *testing.T) {
	packets := make(chan []byte)
	c := open(t, l3conn.Funcs{ReadFunc: func(b []byte) (int, error) {
		p, ok := <-packets
		if !ok {
			return 0, io.EOF
		}
		return copy(b, p), nil
	}}, both(Direction{Drop: never}))
	past := time.Unix(1, 0)
	l3conn.Probe(c).ReadDeadliner.SetReadDeadline(past)
	if _, err := c.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	c.Close()
	close(packets) // else the leak check finds its reader
}

// TestEndOfFileComesLast: what was on its way is read before the end of the conn.
func TestEndOfFileComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := l3conn.Pipe(0, 0)
		c := open(t, x, both(Direction{Delay: time.Second}))
		for i := range 3 {
			y.Write(numbered(i, 60))
		}
		y.Close()
		for i := range 3 {
			if n, err := c.Read(make([]byte, 100)); n != 60 || err != nil {
				t.Fatal(i, n, err)
			}
		}
		for range 3 {
			if n, err := c.Read(make([]byte, 100)); n != 0 || err != io.EOF {
				t.Fatal(n, err)
			}
		}
		c.Close()
	})
}

// TestFailedConnRefuses: once a delayed write has failed for good, Write says so and
// what was under way is counted.
func TestFailedConnRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := l3conn.Pipe(0, 0)
		c := open(t, x, both(Direction{Delay: time.Second}))
		for i := range 5 {
			c.Write(numbered(i, 60))
			time.Sleep(100 * time.Millisecond)
		}
		y.Close()
		time.Sleep(time.Second)
		if n, err := c.Write(numbered(9, 60)); n != 0 || !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write: %d, %v", n, err)
		}
		if s := c.Stats().Out; s.Refused != 5 {
			t.Errorf("%+v", s)
		}
		balanced(t, c.Stats().Out)
		c.Close()
	})
}

// TestBelowSpins: a conn that brings nothing, again and again, is broken.
func TestBelowSpins(t *testing.T) {
	c := open(t, l3conn.Funcs{ReadFunc: func([]byte) (int, error) { return 0, syscall.EAGAIN }}, both(Direction{Drop: never}))
	if _, err := c.Read(make([]byte, 100)); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

// TestUntimedReadingStops: where nothing takes time, a reader that does not read is
// felt by the writer, and no packet is lost.
func TestUntimedReadingStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := l3conn.Pipe(4, 0)
		c := open(t, x, both(Direction{Drop: never, Hold: 1024}))
		y.Write(numbered(0, 60))
		c.Read(make([]byte, 100)) // the goroutine that reads begins
		const n = 100
		go func() { // ends with its packets, which are all read
			for i := range n {
				y.Write(numbered(i, 60))
			}
		}()
		synctest.Wait()
		if held := c.Stats().In.UnderWay; held == 0 || held > 4+pumpBatch {
			t.Errorf("%d packets are held", held)
		}
		for i := range n {
			b := make([]byte, 100)
			k, err := c.Read(b)
			if err != nil || !bytes.Equal(b[:k], numbered(i, 60)) {
				t.Fatal(i, err)
			}
		}
		c.Close()
	})
}

// TestRefusals: what the conn below has no room for is reported for a packet alone,
// and counted in a batch, whose other packets are written.
func TestRefusals(t *testing.T) {
	x, y := l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{Packets: 4, Direct: true})
	c := open(t, x, both(Direction{Drop: never}))
	pkts := make([][]byte, 6)
	for i := range pkts {
		pkts[i] = numbered(i, 60)
	}
	if n, err := l3conn.Probe(c).BatchWriter.WriteBatch(pkts); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := c.Write(pkts[0]); n != 0 || !errors.Is(err, l3conn.ErrNoBuffers) {
		t.Errorf("Write without room: %d, %v", n, err)
	}
	if s := c.Stats().Out; s.Delivered != 4 || s.Refused != 3 {
		t.Errorf("%+v", s)
	}
	y.Close()
	if n, err := l3conn.Probe(c).BatchWriter.WriteBatch(pkts); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a broken conn: %d, %v", n, err)
	}
	balanced(t, c.Stats().Out)
	c.Close()
}

// TestTooLongStopsTheBatch: at the packet that is too long, and not before it.
func TestTooLongStopsTheBatch(t *testing.T) {
	for _, d := range []Direction{{Drop: never}, {Delay: 1}} {
		x, y := l3conn.BatchPipe(0, 0, 0)
		c := open(t, x, both(d))
		n, err := l3conn.Probe(c).BatchWriter.WriteBatch([][]byte{numbered(0, 60), {}, numbered(1, 1501), numbered(2, 60)})
		if n != 2 || !errors.Is(err, l3conn.ErrTooLong) {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := y.Read(make([]byte, 100)); n != 60 || err != nil {
			t.Error(n, err)
		}
		if s := c.Stats().Out; s.Packets != 1 {
			t.Errorf("%+v", s)
		}
		c.Close()
	}
}

// TestShortReader: a packet that does not fit its reader has an end too.
func TestShortReader(t *testing.T) {
	x, y := l3conn.BatchPipe(0, 0, 0)
	c := open(t, x, both(Direction{Drop: never}))
	for i := range 3 {
		y.Write(numbered(i, 60))
	}
	if n, err := c.Read(make([]byte, 59)); n != 0 || !errors.Is(err, l3conn.ErrShortBuffer) {
		t.Error(n, err)
	}
	for read := 0; read < 2; {
		sizes := make([]int, 4)
		n, err := l3conn.Probe(c).BatchReader.ReadBatch([][]byte{make([]byte, 59), make([]byte, 59)}, sizes)
		if err != nil || sizes[0] != 0 || sizes[1] != 0 {
			t.Fatal(n, err, sizes)
		}
		read += n
	}
	if s := c.Stats().In; s.Short != 3 || s.Delivered != 0 {
		t.Errorf("%+v", s)
	}
	balanced(t, c.Stats().In)
	c.Close()
}
