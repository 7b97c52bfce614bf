package limit

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
)

var (
	hog    = netip.MustParseAddr("10.0.0.1")
	other  = netip.MustParseAddr("10.0.0.2")
	web    = netip.MustParseAddrPort("192.0.2.1:80")
	webTLS = netip.MustParseAddrPort("192.0.2.1:443")
)

func TestDefaultKey(t *testing.T) {
	for _, tc := range []struct{ addr, want string }{
		{"10.0.0.1", "10.0.0.1/32"},
		{"::ffff:10.0.0.1", "10.0.0.1/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64"},
	} {
		if got := DefaultKey(netip.MustParseAddr(tc.addr)); got.String() != tc.want {
			t.Errorf("DefaultKey(%s) = %v, want %s", tc.addr, got, tc.want)
		}
	}
	if got := DefaultKey(netip.Addr{}); got.IsValid() {
		t.Errorf("DefaultKey of no address = %v", got)
	}
}

// take acquires until refused and returns how many it got and why it ended.
func take(t *Table, src netip.Addr, dst netip.AddrPort) (int, Verdict) {
	for n := 0; ; n++ {
		if v := t.Acquire(src, dst); v != OK || n > 1<<16 {
			return n, v
		}
	}
}

func TestLimits(t *testing.T) {
	for _, tc := range []struct {
		name      string
		cfg       Config
		hogGets   int
		hogEnds   Verdict
		otherGets int
		otherEnds Verdict
	}{
		{"total keeps an eighth", Config{Total: 128}, 112, Total, 16, Total},
		{"the eighth is for small sources only", Config{Total: 256}, 224, Total, 16, Total},
		{"a table below sixteen has no large source", Config{Total: 8}, 8, Total, 0, Total},
		{"source", Config{Total: 128, PerSource: 20}, 20, Source, 20, Source},
		{"destination keeps an eighth", Config{PerDestination: 64}, 56, Destination, 8, Destination},
		{"source before destination", Config{PerSource: 4, PerDestination: 4}, 4, Source, 0, Destination},
		{"negative is none", Config{Total: 32, PerSource: -1, PerDestination: -1}, 28, Total, 4, Total},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := New(tc.cfg, nil)
			if n, v := take(l, hog, web); n != tc.hogGets || v != tc.hogEnds {
				t.Errorf("hog got %d, %v; want %d, %v", n, v, tc.hogGets, tc.hogEnds)
			}
			if n, v := take(l, other, web); n != tc.otherGets || v != tc.otherEnds {
				t.Errorf("other got %d, %v; want %d, %v", n, v, tc.otherGets, tc.otherEnds)
			}
			s := l.Stats()
			if s.Held != tc.hogGets+tc.otherGets || s.Refused != 2 || s.Acquired != uint64(s.Held) {
				t.Errorf("stats %+v", s)
			}
			if l.Holds(hog) != tc.hogGets {
				t.Errorf("hog holds %d", l.Holds(hog))
			}
		})
	}
}

func TestUnlimited(t *testing.T) {
	l := New(Config{}, nil)
	for range 100_000 {
		if v := l.Acquire(hog, web); v != OK {
			t.Fatal(v)
		}
	}
}

func TestDestinationsAreCountedApart(t *testing.T) {
	l := New(Config{PerDestination: 8}, nil)
	take(l, hog, web)
	if v := l.Acquire(hog, webTLS); v != OK {
		t.Fatalf("a full destination closes another one: %v", v)
	}
}

func TestReleaseOpens(t *testing.T) {
	l := New(Config{Total: 16, PerSource: 16, PerDestination: 16}, nil)
	n, _ := take(l, hog, web)
	for range n {
		l.Release(hog, web)
	}
	if s := l.Stats(); s.Held != 0 || s.Acquired != s.Released {
		t.Fatalf("stats %+v", s)
	}
	if len(l.bySource) != 0 || len(l.byDest) != 0 {
		t.Fatalf("entries left: %v %v", l.bySource, l.byDest)
	}
	if m, _ := take(l, hog, web); m != n {
		t.Fatalf("second time %d, first %d", m, n)
	}
}

func TestReleaseOfNothingPanics(t *testing.T) {
	l := New(Config{Total: 4, PerDestination: 4}, nil)
	_ = l.Acquire(hog, web)
	for _, dst := range []netip.AddrPort{webTLS} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			l.Release(hog, dst)
		}()
	}
	if s := l.Stats(); s.Held != 1 {
		t.Fatalf("the panic changed the account: %+v", s)
	}
}

func TestVerdictString(t *testing.T) {
	for v, want := range map[Verdict]string{OK: "ok", Total: "total", Source: "source", Destination: "destination", 9: "invalid"} {
		if v.String() != want {
			t.Errorf("%d: %q, want %q", v, v.String(), want)
		}
	}
}

// TestAccount takes and gives back at random from many goroutines; the account
// must hold, and nothing may be left.
func TestAccount(t *testing.T) {
	l := New(Config{Total: 50, PerSource: 20, PerDestination: 30}, nil)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() { // awaited below
			r := rand.New(rand.NewPCG(uint64(g), 1))
			type place struct {
				src netip.Addr
				dst netip.AddrPort
			}
			var held []place
			for range 2000 {
				p := place{[]netip.Addr{hog, other}[r.IntN(2)], []netip.AddrPort{web, webTLS}[r.IntN(2)]}
				if r.IntN(2) == 0 {
					if l.Acquire(p.src, p.dst) == OK {
						held = append(held, p)
					}
				} else if n := len(held); n > 0 {
					l.Release(held[n-1].src, held[n-1].dst)
					held = held[:n-1]
				}
				if s := l.Stats(); s.Held > 50 || s.Acquired != s.Released+uint64(s.Held) {
					t.Errorf("stats %+v", s)
					return
				}
			}
			for _, p := range held {
				l.Release(p.src, p.dst)
			}
		})
	}
	wg.Wait()
	if s := l.Stats(); s.Held != 0 {
		t.Fatalf("left: %+v", s)
	}
}

func TestNoAllocs(t *testing.T) {
	l := New(Config{Total: 8, PerSource: 8, PerDestination: 8}, nil)
	if n := testing.AllocsPerRun(100, func() {
		_ = l.Acquire(hog, web)
		l.Release(hog, web)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSetConfig(t *testing.T) {
	l := New(Config{Total: 8}, nil)
	if n, _ := take(l, hog, web); n != 8 {
		t.Fatalf("%d places", n)
	}
	l.SetConfig(Config{Total: 4, PerSource: 2, PerDestination: 1})
	if v := l.Acquire(hog, web); v != Source {
		t.Errorf("above the new limit: %v", v)
	}
	for range 7 {
		l.Release(hog, web)
	}
	if n, v := take(l, hog, web); n != 1 || v != Source {
		t.Errorf("%d more places, then %v; want 1, and the source's limit", n, v)
	}
	l.SetConfig(Config{})
	if v := l.Acquire(hog, web); v != OK {
		t.Errorf("without limits: %v", v)
	}
}
