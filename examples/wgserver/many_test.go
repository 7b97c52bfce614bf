package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	manyPeers  = flag.Int("peers", 100, "peers that TestManyPeers has")
	manyRounds = flag.Int("rounds", 3, "pages that each of them fetches, quiet and beside a flood")
	withFlood  = flag.Bool("flood", false, "TestManyPeers measures what a flooding peer does to the others")
)

// TestManyPeers has a hundred peers fetch a page at once. With -flood they fetch pages
// by turns: alone, beside a peer that sends datagrams as fast as it can to another
// server of the same kind in this process, and beside such a peer of their own server.
// The second of these costs the machine's processors as much as the third, so the two
// together tell what peers do to each other. All pages come; how long they take is
// reported, not judged.
func TestManyPeers(t *testing.T) {
	r, other := newRig(t, *manyPeers+1), newRig(t, 1)
	clients := make([]*client, *manyPeers)
	for i := range clients {
		clients[i] = r.peer(t, i)
	}
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
	all()
	if !*withFlood {
		t.Log("-flood measures what a flooding peer does to the others")
		return
	}
	flooders := []*flooder{newFlooder(t, other, 0), newFlooder(t, r, *manyPeers)}
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

// flooder is a peer that floods its server, from a process of its own: in this one it
// would not only take a processor, as it may, but turns of the same scheduler.
type flooder struct {
	r    *rig
	args []string
}

// flooderName is the name under which the test binary is a flooder.
const flooderName = "flooder (test)"

func newFlooder(t *testing.T, r *rig, peer int) *flooder {
	t.Helper()
	sink, err := net.ListenPacket("udp", "127.0.0.1:0") // not read: what its buffer cannot hold the kernel drops
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	r.sink.Store(sink.LocalAddr())
	server, err := publicKey(r.cfg.private)
	if err != nil {
		t.Fatal(err)
	}
	return &flooder{r, []string{flooderName, r.keys[peer].String(), server.String(), address(peer).String(), fmt.Sprint(r.port()), r.web}}
}

// start floods until stop, which returns the packets per second that came.
func (f *flooder) start(t *testing.T) (stop func() float64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: self, Args: f.args, Stderr: os.Stderr, Env: append(os.Environ(), "GORACE=atexit_sleep_ms=1")}
	alive, err := cmd.StdinPipe() // it ends with us
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		alive.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the flooder: %v", err)
		}
	})
	t.Cleanup(end)
	before := f.r.counts.packets.Load()
	eventually(t, "the flood", func() bool { return f.r.counts.packets.Load() > before+1000 })
	began, before := time.Now(), f.r.counts.packets.Load()
	return func() float64 {
		rate := float64(f.r.counts.packets.Load()-before) / time.Since(began).Seconds()
		end()
		return rate
	}
}

// flood is the main function of a flooder: it floods until standard input ends.
func flood(args []string) error {
	private, err := parseKey(args[0])
	server, err2 := parseKey(args[1])
	addr, err3 := netip.ParseAddr(args[2])
	port, err4 := parseNumber[uint16](args[3], 16)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return err
	}
	c, stop, err := startClient(private, server, addr, port)
	if err != nil {
		return err
	}
	defer stop()
	pc, err := c.stack.DialContext(context.Background(), "udp", args[4])
	if err != nil {
		return err
	}
	defer pc.Close()
	var over atomic.Bool
	go func() { // ends with standard input
		_, _ = io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	for p := make([]byte, 1200); !over.Load(); {
		_, _ = pc.Write(p) // what finds a full queue is lost
	}
	return nil
}
