package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

// TestOrder: packets of all classes leave in the order in which they were queued,
// also when the writer sleeps in between, and each is counted.
func TestOrder(t *testing.T) {
	c := newFake()
	r := newRig(c, 1500)
	done := r.write(t.Context())
	for i := range 600 {
		if !r.send(20+i, byte(i), []Class{Data, Control, Datagram}[i%3]) {
			t.Fatal(i)
		}
		if i%50 == 0 { // the writer runs dry
			for range min(i+1, 50) {
				if b := <-c.writes; len(b) < 20 || b[0] != byte(len(b)-20) {
					t.Fatalf("%d bytes marked %d", len(b), b[0])
				}
			}
		}
	}
	r.Stop()
	<-done
	last := -1
	for range len(c.writes) {
		b := <-c.writes
		if n := len(b) - 20; n <= last || b[0] != byte(n) {
			t.Fatalf("packet %d after %d", n, last)
		} else {
			last = n
		}
	}
	if last != 599 {
		t.Fatalf("the last packet was %d", last)
	}
	if _, _, out, bytes := r.Counts(); out != 600 || bytes != 600*20+599*300 {
		t.Fatalf("%d packets, %d bytes", out, bytes)
	}
	r.want(t, nil)
}

// TestStop: the writer writes what waits and ends; what comes later is dropped and
// counted.
func TestStop(t *testing.T) {
	c := newFake()
	r := newRig(c, 1500)
	for i := range 200 {
		r.send(100, byte(i), Data)
	}
	r.Stop()
	if r.send(100, 0, Data) || r.WriteControl([]byte{1}) || r.WriteDatagram([]byte{1}) {
		t.Fatal("taken after Stop")
	}
	<-r.write(t.Context())
	if len(c.writes) != 200 {
		t.Fatalf("%d packets written", len(c.writes))
	}
	r.want(t, map[drop.Cause]uint64{drop.Closed: 3})
	r.Stop()
}

// TestWriterEndsByContext: a writer that nothing else ends.
func TestWriterEndsByContext(t *testing.T) {
	r := newRig(newFake(), 1500)
	ctx, cancel := context.WithCancel(t.Context())
	done := r.write(ctx)
	cancel()
	<-done
}

// TestFaults: errors that a conn survives cost one packet each, any other one is
// the end.
func TestFaults(t *testing.T) {
	broken := errors.New("cable cut")
	for _, tc := range []struct {
		err   error
		cause drop.Cause
		fatal bool
	}{
		{l3conn.ErrNoBuffers, drop.ConnNoBuffers, false},
		{syscall.EAGAIN, drop.ConnNoBuffers, false},
		{l3conn.ErrDown, drop.ConnNoBuffers, false},
		{l3conn.ErrTooLong, drop.ConnTooLarge, false},
		{broken, drop.Closed, true},
		{net.ErrClosed, drop.Closed, true},
	} {
		for _, inPlace := range []bool{false, true} {
			c := newFake()
			c.fault = func(n int) error {
				if n%4 == 1 {
					return tc.err
				}
				return nil
			}
			var conn l3conn.Conn = c
			if inPlace {
				conn = direct{c}
			}
			r := newRig(conn, 1500)
			for i := range 8 {
				r.send(100, byte(i), Data)
			}
			if !inPlace {
				r.Stop()
			}
			<-r.write(t.Context())
			if tc.fatal {
				r.failedWith(t, tc.err)
				continue
			}
			r.want(t, map[drop.Cause]uint64{tc.cause: 2})
			if len(c.writes) != 6 || r.Err() != nil {
				t.Errorf("%v, in place %v: %d packets written, %v", tc.err, inPlace, len(c.writes), r.Err())
			}
		}
	}
}

// shy is a BatchWriter that takes a few packets per call, or none.
type shy struct {
	*fake
	most int
}

func (s shy) WriteBatch(pkts [][]byte) (int, error) {
	n := min(len(pkts), s.most)
	for i, p := range pkts[:n] {
		if _, err := s.Write(p); err != nil {
			return i, err
		}
	}
	return n, nil
}

func TestShortBatches(t *testing.T) {
	c := newFake()
	c.fault = func(n int) error {
		if n == 10 {
			return l3conn.ErrNoBuffers
		}
		return nil
	}
	r := newRig(shy{c, 7}, 1500)
	for range 100 {
		r.send(50, 0, Data)
	}
	r.Stop()
	<-r.write(t.Context())
	if len(c.writes) != 99 {
		t.Errorf("%d packets written, want 99", len(c.writes))
	}
	r.want(t, map[drop.Cause]uint64{drop.ConnNoBuffers: 1})

	r = newRig(shy{newFake(), 0}, 1500)
	r.send(50, 0, Data)
	<-r.write(t.Context())
	<-r.Broken() // no packet and no error: it would spin for ever
}

// TestBlockedWrite: a conn that takes nothing makes nobody wait but the writer.
func TestBlockedWrite(t *testing.T) {
	c := newFake()
	c.writes = make(chan []byte)
	r := newRig(closer{c}, 1500)
	done := r.write(t.Context())
	for i := range 10_000 {
		r.send(1500, byte(i), Class(i%3))
	}
	if _, yes := r.Congested(); !yes {
		t.Fatal("not congested")
	}
	r.Stop()
	if read, write := r.Unblock(true); read || write {
		t.Fatal(read, write)
	}
	<-done
}

// TestStopWaitsForDirect: after Stop nothing is written to a conn that is written
// in place.
func TestStopWaitsForDirect(t *testing.T) {
	c := newFake()
	r := newRig(direct{c}, 1500)
	var senders sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		senders.Go(func() { // ends once Stop was called
			for i := 0; r.WriteControl([]byte{1}); i++ {
				if i == 0 {
					started <- struct{}{}
				}
				<-c.writes
			}
		})
	}
	for range 4 {
		<-started
	}
	r.Stop()
	c.mu.Lock()
	at := c.written
	c.mu.Unlock()
	senders.Wait()
	if c.written != at {
		t.Errorf("%d packets written after Stop", c.written-at)
	}
}
