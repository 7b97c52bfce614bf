package stack

import (
	"testing"
	"time"

	"l3extract/l3conn/fault"
	"l3extract/tcp"
)

// TestBadLink: over a link that loses, reorders, repeats and damages packets both
// ways every byte arrives, both ways at once, whatever the conn can do and however
// losses are found.
func TestBadLink(t *testing.T) {
	bad := fault.Direction{
		Drop: 0.005, Burst: 0.0005, Duplicate: 0.02, Corrupt: 0.005, Reorder: 0.02,
		Delay: 200 * time.Microsecond, ReorderDelay: 300 * time.Microsecond,
	}
	for _, recovery := range []tcp.Recovery{tcp.SACK, tcp.RACK} {
		for _, kind := range pipes {
			t.Run(recovery.String()+"/"+kind.name, func(t *testing.T) {
				t.Parallel() // they wait for timers
				x, y := kind.make()
				link, err := fault.New(y, &fault.Config{Seed: 1, In: bad, Out: bad})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := link.Close(); err != nil {
						t.Error(err)
					}
				})
				cfg := Config{TCP: tcp.Config{Recovery: recovery}}
				c, s := pairOn(t, x, link, cfg, cfg)
				a, b, err := connect(c, s)
				if err != nil {
					t.Fatal(err)
				}
				bothWays(t, a, b, 1<<20)
				for _, n := range []fault.Counts{link.Stats().In, link.Stats().Out} {
					if n.Dropped == 0 || n.Duplicated == 0 || n.Corrupted == 0 || n.Reordered == 0 {
						t.Errorf("the link did not do its worst: %+v", n)
					}
				}
				if drops := c.Stats().Drops["l4_checksum"] + s.Stats().Drops["l4_checksum"]; drops == 0 {
					t.Error("no wrong checksum was found")
				}
			})
		}
	}
}
