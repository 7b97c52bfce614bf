package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

var (
	manyPeers  = flag.Int("peers", 100, "peers that TestManyPeers has")
	manyRounds = flag.Int("rounds", 3, "pages that each of them fetches, quiet and beside a flood")
)

// TestManyPeers has a hundred peers fetch pages by turns: alone, beside a peer that
// sends datagrams as fast as it can to another server of the same kind in this
// process, and beside such a peer of their own server. The second of these costs the
// machine's processors as much as the third, so the two together tell what peers do to
// each other. All pages come; how long they take is reported, not judged.
func TestManyPeers(t *testing.T) {
	r, other := newRig(t, *manyPeers+1), newRig(t, 1)
	clients := make([]*client, *manyPeers)
	for i := range clients {
		clients[i] = r.peer(t, i)
	}
	flooders := []*flooder{newFlooder(t, other, 0), newFlooder(t, r, *manyPeers)}
	all := func() { // at once
		var g sync.WaitGroup
		for _, c := range clients {
			g.Go(func() { // awaited below
				if _, err := c.fetch(r.web); err != nil {
					t.Error(err)
				}
			})
		}
		g.Wait()
	}
	var took [3][]time.Duration
	fetch := func(i int) { // by turns
		for _, c := range clients {
			d, err := c.fetch(r.web)
			if err != nil {
				t.Fatal(err)
			}
			took[i] = append(took[i], d)
		}
	}
	all() // with their handshakes
	var rate [2]float64
	for range *manyRounds {
		fetch(0)
		for i, f := range flooders {
			stop := f.start(t)
			fetch(1 + i)
			all()
			rate[i] += stop() / float64(*manyRounds)
		}
	}
	for i, what := range []string{
		"quiet",
		fmt.Sprintf("beside a flood of %.0f packets/s at another server", rate[0]),
		fmt.Sprintf("beside a flood of %.0f packets/s at their own", rate[1]),
	} {
		slices.Sort(took[i])
		n := len(took[i])
		t.Logf("%d peers, a page %s: median %v, nine of ten within %v; the median is %.2f times quiet", len(clients), what,
			took[i][n/2].Round(time.Microsecond), took[i][n*9/10].Round(time.Microsecond),
			float64(took[i][n/2])/float64(took[0][n/2]))
	}
}

// flooder is a peer that floods its server.
type flooder struct {
	*client
	r *rig
}

func newFlooder(t *testing.T, r *rig, peer int) *flooder {
	t.Helper()
	sink, err := net.ListenPacket("udp", "127.0.0.1:0") // not read: what its buffer cannot hold the kernel drops
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	r.sink.Store(sink.LocalAddr())
	return &flooder{r.peer(t, peer), r}
}

// start floods until stop, which returns the packets per second that came.
func (f *flooder) start(t *testing.T) (stop func() float64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	flood.Go(func() { // ends with ctx; awaited by stop
		pc, err := f.stack.DialContext(ctx, "udp", f.r.web)
		if err != nil {
			t.Error(err)
			return
		}
		defer pc.Close()
		p := make([]byte, 1200)
		for ctx.Err() == nil {
			_, _ = pc.Write(p) // what finds a full queue is lost
		}
	})
	before := f.r.counts.packets.Load()
	eventually(t, "the flood", func() bool { return f.r.counts.packets.Load() > before+1000 })
	began, before := time.Now(), f.r.counts.packets.Load()
	return func() float64 {
		rate := float64(f.r.counts.packets.Load()-before) / time.Since(began).Seconds()
		cancel()
		flood.Wait()
		return rate
	}
}
