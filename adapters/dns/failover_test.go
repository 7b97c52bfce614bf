package dns

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		good := zone("www.example. 60 IN A 192.0.2.1")
		bad := &stub{answer: func(context.Context, *dns.Msg) (*dns.Msg, error) { return nil, down }}
		u := Failover(bad, good)
		for range 3 {
			mustExchange(t, u, "www.example")
		}
		if bad.times() != 1 || good.times() != 3 {
			t.Errorf("the bad one was asked %d times, the good one %d", bad.times(), good.times())
		}
		time.Sleep(shunned)
		mustExchange(t, u, "www.example")
		if bad.times() != 2 {
			t.Error("the bad one has no second chance")
		}
		// One that has refused is asked first again: it is there.
		refuses := &stub{answer: func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
			return new(dns.Msg).SetRcode(q, dns.RcodeRefused), nil
		}}
		u = Failover(refuses, bad, good)
		mustExchange(t, u, "www.example")
		mustExchange(t, u, "www.example")
		if refuses.times() != 2 {
			t.Errorf("asked %d times", refuses.times())
		}
		// If there is nothing better it is the answer.
		if m, err := exchange(t, Failover(refuses, bad), "www.example"); err != nil || m.Rcode != dns.RcodeRefused {
			t.Errorf("%v %v", m, err)
		}
		if _, err := exchange(t, Failover(bad, bad), "www.example"); !errors.Is(err, down) {
			t.Error(err)
		}
		if _, err := exchange(t, Failover(), "www.example"); !errors.Is(err, errNoServers) {
			t.Error(err)
		}
		// All of them bad: asked all the same, in case one is back.
		before := bad.times()
		if _, err := exchange(t, Failover(bad), "www.example"); err == nil || bad.times() != before+1 {
			t.Error(err)
		}
	})
}

func TestSystem(t *testing.T) {
	one, two := start(t, "udp", "", www), start(t, "udp", "", www)
	addr := func(r *resolver) netip.AddrPort { return netip.MustParseAddrPort(r.url[len("udp://"):]) }
	servers := []netip.AddrPort{addr(one)}
	u := System(func() []netip.AddrPort { return servers }, nil)
	mustExchange(t, u, "www.example")
	one.stop()
	servers = []netip.AddrPort{addr(one), addr(two)}
	mustExchange(t, u, "www.example")
	servers = []netip.AddrPort{addr(two)}
	mustExchange(t, u, "www.example")
	if st := u.(accountant).account(); len(st) != 1 || st[0].Name != two.url || st[0].Exchanges != 2 {
		t.Errorf("%+v", st)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
	if _, err := exchange(t, u, "www.example"); err == nil {
		t.Error("answered after Close")
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	f := &confFile{path: path}
	loopback := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	if got := f.servers(); !slices.Equal(got, loopback) {
		t.Errorf("without a file %v", got)
	}
	for text, want := range map[string][]netip.AddrPort{
		"# nothing\n": loopback,
		"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan home\n": {netip.MustParseAddrPort("127.0.0.53:53")},
		"nameserver fe80::1%eth0\nnameserver ::ffff:9.9.9.9\nnameserver\n nameserver nonsense\n": {
			netip.MustParseAddrPort("[fe80::1%eth0]:53"), netip.MustParseAddrPort("9.9.9.9:53")},
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := f.servers(); !slices.Equal(got, want) {
				t.Errorf("%q: %v, want %v", text, got, want)
			}
		}
	}
}
