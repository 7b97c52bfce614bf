package datagram

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/l3conn"
)

// TestRuns: equal packets in a row are one message each way, others are not, and all
// arrive whole and in order.
func TestRuns(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		a, b := pair(t, host, Config{MTU: 1500})
		for _, conns := range [][2]*Conn{{a, b}, {b, a}} {
			from, to := conns[0], conns[1]
			var sizes []int
			for range 100 {
				sizes = append(sizes, 500)
			}
			sizes = append(sizes, 400, 400, 1500, 20, 500, 500, 499, 500)
			var pkts [][]byte
			for i, n := range sizes {
				pkts = append(pkts, packet(i, n))
			}
			if n, err := from.fast.WriteBatch(pkts); n != len(pkts) || err != nil {
				t.Fatal(n, err)
			}
			got := readPast(t, to)
			if len(got) != len(pkts) {
				t.Fatalf("%d of %d packets", len(got), len(pkts))
			}
			for i := range got {
				if !bytes.Equal(got[i], pkts[i]) {
					t.Fatalf("packet %d is another", i)
				}
			}
			out, in := from.Stats(), to.Stats()
			if out.PacketsOut != uint64(len(pkts)) || in.PacketsIn != uint64(len(pkts)) || out.BytesOut != in.BytesIn {
				t.Errorf("%+v\n%+v", out, in)
			}
			if from.fast.runs && (out.RunsOut == 0 || out.CallsOut > 2 || in.RunsIn == 0) {
				t.Errorf("no runs: %+v\n%+v", out, in)
			}
		}
	}
}

// TestBatchWithOddOnes: an empty packet is nothing, one that is too long stops.
func TestBatchWithOddOnes(t *testing.T) {
	a, b := pair(t, "127.0.0.1", Config{MTU: 100})
	p := func(n int) []byte { return packet(n, n) }
	for _, c := range []struct {
		pkts [][]byte
		n    int
		err  error
		got  int
	}{
		{[][]byte{nil}, 1, nil, 0},
		{[][]byte{nil, p(40), nil, nil, p(40)}, 5, nil, 2},
		{[][]byte{p(40), p(101), p(40)}, 1, l3conn.ErrTooLong, 1},
		{[][]byte{p(101)}, 0, l3conn.ErrTooLong, 0},
		{nil, 0, nil, 0},
	} {
		if n, err := a.fast.WriteBatch(c.pkts); n != c.n || err != c.err {
			t.Errorf("%d packets: %d, %v", len(c.pkts), n, err)
		}
		if got := readPast(t, b); len(got) != c.got {
			t.Errorf("%d packets arrived, want %d", len(got), c.got)
		}
	}
}

// TestRunRefused: a run that the path does not carry goes packet by packet.
func TestRunRefused(t *testing.T) {
	a, b := pair(t, "127.0.0.1", Config{MTU: 1500})
	for _, errno := range []error{unix.EINVAL, unix.EIO} {
		if !a.fast.refusesRun(errno, 2) {
			t.Fatal(errno)
		}
		before := a.Stats().RunsOut
		if n, err := a.fast.WriteBatch([][]byte{packet(1, 60), packet(2, 60)}); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if got := readPast(t, b); len(got) != 2 || a.Stats().RunsOut != before {
			t.Errorf("%v: %d packets, %+v", errno, len(got), a.Stats())
		}
	}
	if a.fast.refusesRun(unix.ENOBUFS, 2) || a.fast.runs {
		t.Error("ENOBUFS is not about runs, EIO is for good")
	}
}

// TestPathMTU: the loopback's is cut to what is sensible, and Config wins.
func TestPathMTU(t *testing.T) {
	for _, c := range []struct {
		host string
		cfg  Config
		want int
	}{{"127.0.0.1", Config{}, maxPathMTU}, {"::1", Config{}, maxPathMTU}, {"127.0.0.1", Config{MTU: 1300}, 1300}} {
		a, b := pair(t, c.host, c.cfg)
		if a.MTU() != c.want || b.MTU() != c.want {
			t.Errorf("%s: %d and %d", c.host, a.MTU(), b.MTU())
		}
	}
	x := listen(t, "127.0.0.1")
	if c := must(New(x, nil))(t); c.MTU() != DefaultMTU {
		t.Errorf("without a peer: %d", c.MTU())
	}
}

// TestNoAllocations: a batch each way allocates nothing.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, cfg := range []Config{{MTU: 1500}, {MTU: 1500, NoOffload: true}} {
		a, b := pair(t, "127.0.0.1", cfg)
		var pkts [][]byte
		bufs, sizes := make([][]byte, 8), make([]int, 8)
		for i := range bufs {
			pkts = append(pkts, packet(i, 1000))
			bufs[i] = make([]byte, 1500)
		}
		_ = a.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n := testing.AllocsPerRun(100, func() {
			if n, err := b.fast.WriteBatch(pkts); n != len(pkts) {
				t.Fatal(err)
			}
			for got := 0; got < len(pkts); {
				n, err := a.fast.ReadBatch(bufs, sizes)
				if err != nil {
					t.Fatal(err)
				}
				got += n
			}
		}); n > 0 {
			t.Errorf("%v: %v allocations", fmt.Sprint(cfg.NoOffload), n)
		}
	}
}
