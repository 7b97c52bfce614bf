package fault

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/l3conn"
)

// arrival is a packet that came out of a link, and when.
type arrival struct {
	seq  int
	at   time.Duration
	good bool // its bytes are those that were sent
}

// numbered returns a packet of size bytes, at least 8, which carries seq and a
// checksum, so that any flipped bit shows.
func numbered(seq, size int) []byte {
	p := make([]byte, size)
	binary.BigEndian.PutUint32(p, uint32(seq))
	for i := 8; i < size; i++ {
		p[i] = byte(seq*7 + i)
	}
	binary.BigEndian.PutUint32(p[4:], crc32.ChecksumIEEE(p))
	return p
}

// read takes the number out of p, which it spoils.
func (a *arrival) read(p []byte) {
	a.seq = int(binary.BigEndian.Uint32(p))
	sum := binary.BigEndian.Uint32(p[4:])
	clear(p[4:8])
	a.good = sum == crc32.ChecksumIEEE(p)
}

// collect reads conn until its deadline, which it sets to a moment when all has
// come through.
func collect(t *testing.T, conn l3conn.Conn, start time.Time) []arrival {
	caps := l3conn.Probe(conn)
	if err := caps.ReadDeadliner.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	r := caps.Reader()
	bufs, sizes := make([][]byte, r.BatchSize()), make([]int, r.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	var got []arrival
	for {
		n, err := r.ReadBatch(bufs, sizes)
		for i := range n {
			a := arrival{at: time.Since(start)}
			a.read(bufs[i][:sizes[i]])
			got = append(got, a)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return got
		}
		if err != nil {
			t.Error(err)
			return got
		}
	}
}

// through sends n packets of size bytes, one each gap, through direction d, once
// as Out and once as In, each in a time of its own, and returns what came.
func through(t *testing.T, seed uint64, d Direction, n, size int, gap time.Duration) (out, in []arrival, stats Stats) {
	t.Helper()
	for _, isIn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			x, y := l3conn.BatchPipe(n+1, 1500, 0)
			cfg := Config{Seed: seed, Out: d}
			if isIn {
				cfg = Config{Seed: seed, In: d}
			}
			c, err := New(x, &cfg)
			if err != nil {
				t.Fatal(err)
			}
			from, to := l3conn.Conn(c), l3conn.Conn(y)
			if isIn {
				from, to = to, from
			}
			start := time.Now()
			var got []arrival
			var reader sync.WaitGroup
			reader.Go(func() { got = collect(t, to, start) }) // ends with the deadline; awaited below
			for i := range n {
				if k, err := from.Write(numbered(i, size)); k != size || err != nil {
					t.Fatal(k, err)
				}
				time.Sleep(gap)
			}
			reader.Wait()
			if isIn {
				in, stats.In = got, c.Stats().In
			} else {
				out, stats.Out = got, c.Stats().Out
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			y.Close()
		})
	}
	balanced(t, stats.In)
	balanced(t, stats.Out)
	return out, in, stats
}

// balanced checks that every packet has one end.
func balanced(t testing.TB, c Counts) {
	t.Helper()
	if came, went := c.Packets+c.Duplicated, c.Delivered+c.UnderWay+c.Dropped+c.Burst+
		c.QueueFull+c.HoldFull+c.Refused+c.Short+c.Closed; came != went {
		t.Errorf("%d packets came, %d went: %+v", came, went, c)
	}
}
