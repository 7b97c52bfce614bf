package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

// reading runs the reader; what it delivers comes out of the channel, a copy each.
func (r *rig) reading() (got chan []byte, done chan struct{}) {
	got, done = make(chan []byte, 4096), make(chan struct{})
	go func() { // ends by the conn or by Stop and Unblock
		defer close(done)
		r.Read(func(pkts []Packet) {
			for _, p := range pkts {
				got <- append([]byte(nil), p.Data...)
			}
		})
	}()
	return got, done
}

// batched is a BatchReader of one packet or error per call.
type batched struct {
	*fake
	mtu int
}

func (b batched) MTU() int     { return b.mtu }
func (batched) BatchSize() int { return 4 }
func (b batched) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	n, err := b.Read(bufs[0])
	sizes[0] = n
	if n == 0 {
		return 0, err
	}
	return 1, err
}

// both runs f for a plain conn and for one that reads batches.
func both(t *testing.T, f func(t *testing.T, c *fake, r *rig)) {
	t.Run("plain", func(t *testing.T) {
		c := newFake()
		f(t, c, newRig(closer{c}, 1500))
	})
	t.Run("batch", func(t *testing.T) {
		c := newFake()
		f(t, c, newRig(struct {
			batched
			io.Closer
		}{batched{c, 1500}, closer{c}}, 1500))
	})
}

func TestReadOutcomes(t *testing.T) {
	broken := errors.New("cable cut")
	for _, tc := range []struct {
		err   error
		fatal bool
		drop  drop.Cause
	}{
		{nil, false, drop.None},
		{syscall.EAGAIN, false, drop.None},
		{syscall.EINTR, false, drop.None},
		{l3conn.ErrShortBuffer, false, drop.ConnShortBuffer},
		{io.EOF, true, drop.None},
		{net.ErrClosed, true, drop.None},
		{os.ErrDeadlineExceeded, true, drop.None},
		{broken, true, drop.None},
	} {
		both(t, func(t *testing.T, c *fake, r *rig) {
			got, done := r.reading()
			c.reads <- read{b: []byte("first")}
			c.reads <- read{err: tc.err}
			if tc.fatal {
				<-done
				r.failedWith(t, tc.err)
			} else {
				c.reads <- read{[]byte("second"), tc.err} // a packet and an error
				c.reads <- read{[]byte("third"), broken}
				<-done
				r.failedWith(t, broken)
			}
			close(got)
			var all []string
			for b := range got {
				all = append(all, string(b))
			}
			want := []string{"first", "second", "third"}
			if tc.fatal {
				want = want[:1]
			}
			if !slices.Equal(all, want) {
				t.Errorf("%v: delivered %q, want %q", tc.err, all, want)
			}
			lost := map[drop.Cause]uint64{}
			if tc.drop != drop.None {
				lost[tc.drop] = 2
			}
			r.want(t, lost)
			if in, _, _, _ := r.Counts(); in != uint64(len(want)) {
				t.Errorf("%v: counted %d packets", tc.err, in)
			}
		})
	}
}

// TestSpinningRead: a conn that says "nothing" for ever, in whatever way, does not
// keep a core busy for ever; one that says it now and then does no harm.
func TestSpinningRead(t *testing.T) {
	for _, nothing := range []error{nil, syscall.EAGAIN, syscall.EINTR} {
		both(t, func(t *testing.T, c *fake, r *rig) {
			_, done := r.reading()
			for range 3 {
				for range maxIdleReads - 1 {
					c.reads <- read{err: nothing}
				}
				c.reads <- read{b: []byte("packet")}
			}
			for range 2 * maxIdleReads {
				c.reads <- read{err: l3conn.ErrShortBuffer} // packets, although lost
			}
			if r.Err() != nil {
				t.Fatal(r.Err())
			}
			for range maxIdleReads {
				c.reads <- read{err: nothing}
			}
			<-done
			r.failedWith(t, io.ErrNoProgress)
		})
	}
}

// TestBatchRoom: a batch reader is offered room for the conn's own MTU, which may
// be larger than ours, and for any packet when it does not say.
func TestBatchRoom(t *testing.T) {
	for _, tc := range []struct{ conn, ours, packet int }{{9000, 1400, 9000}, {0, 1400, 65535}, {1500, 1500, 1500}} {
		c := newFake()
		r := newRig(batched{c, tc.conn}, tc.ours)
		got, done := r.reading()
		c.reads <- read{b: make([]byte, tc.packet)}
		c.reads <- read{err: io.EOF}
		<-done
		if b := <-got; len(b) != tc.packet {
			t.Errorf("MTU %d, ours %d: %d bytes of %d", tc.conn, tc.ours, len(b), tc.packet)
		}
	}
}

// TestNothingAfterStop: a packet that comes after Stop is not delivered.
func TestNothingAfterStop(t *testing.T) {
	both(t, func(t *testing.T, c *fake, r *rig) {
		got, done := r.reading()
		c.reads <- read{b: []byte("before")}
		if string(<-got) != "before" {
			t.Fatal("not delivered")
		}
		r.Stop()
		c.reads <- read{b: []byte("after")}
		if read, write := r.Unblock(false); read || write {
			t.Fatal(read, write)
		}
		<-done
		if len(got) != 0 || r.Err() != nil {
			t.Errorf("%d packets after Stop, %v", len(got), r.Err())
		}
	})
}

// TestUnblock: what each kind of conn leaves behind, and what is done to it.
func TestUnblock(t *testing.T) {
	for _, tc := range []struct {
		name        string
		conn        func(*fake) l3conn.Conn
		writing     bool
		read, write bool // left behind
		closed      bool
	}{
		{"nothing", func(c *fake) l3conn.Conn { return c }, false, true, false, false},
		{"nothing, writing", func(c *fake) l3conn.Conn { return c }, true, true, true, false},
		{"close", func(c *fake) l3conn.Conn { return closer{c} }, true, false, false, true},
		{"read deadline", func(c *fake) l3conn.Conn { return readDeadline{c} }, false, false, false, false},
		{"read deadline, writing", func(c *fake) l3conn.Conn { return readDeadline{c} }, true, false, true, false},
		{"read deadline and close, idle", func(c *fake) l3conn.Conn {
			return struct {
				readDeadline
				io.Closer
			}{readDeadline{c}, closer{c}}
		}, false, false, false, false},
		{"read deadline and close, writing", func(c *fake) l3conn.Conn {
			return struct {
				readDeadline
				io.Closer
			}{readDeadline{c}, closer{c}}
		}, true, false, false, true},
		{"both deadlines and close", func(c *fake) l3conn.Conn {
			return struct {
				writeDeadline
				io.Closer
			}{writeDeadline{c}, closer{c}}
		}, true, false, false, false},
		{"deadline refused", func(c *fake) l3conn.Conn { return refuses{closer{c}} }, false, false, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newFake()
			r := newRig(tc.conn(c), 1500)
			if read, write := r.Unblock(tc.writing); read != tc.read || write != tc.write {
				t.Errorf("left behind: read %v, write %v", read, write)
			}
			c.end(nil) // if nothing else has
			if c.closed != tc.closed {
				t.Errorf("closed: %v", c.closed)
			}
			if !tc.read && !tc.write {
				r.Release()
			}
			if c.past != [2]bool{} && !tc.write {
				t.Errorf("deadlines left: %v", c.past)
			}
		})
	}
}

// TestRing: a slow deliverer gets all packets in order, and holds the reader up
// instead of losing any.
func TestRing(t *testing.T) {
	x, y := l3conn.Pipe(4, 0)
	r := newRig(x, 1500)
	const n = 5000
	next, most := 0, 0
	done := make(chan struct{})
	go func() { // ends with the pipe
		defer close(done)
		r.Read(func(pkts []Packet) {
			most = max(most, len(pkts))
			for _, p := range pkts {
				if string(p.Data) != fmt.Sprint(next) {
					t.Errorf("packet %q, want %d", p.Data, next)
				}
				next++
			}
		})
	}()
	for i := range n {
		if _, err := y.Write(fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	_ = y.Close()
	<-done
	r.failedWith(t, io.EOF)
	if next != n || most > ringPackets {
		t.Errorf("%d packets of %d, at most %d at once", next, n, most)
	}
}
