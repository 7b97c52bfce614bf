package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/dns"
	"l3extract/adapters/outbound"
	"l3extract/stack"
)

func TestParseOptions(t *testing.T) {
	for _, tc := range []struct {
		args string
		ok   bool
		says string
	}{
		{"", true, ""},
		{"-v -- curl -v", true, ""},
		{"-mtu 1280 ls", true, ""},
		{"-mtu 1279 ls", false, "1280 to 65535"},
		{"-mtu 65536 ls", false, "1280 to 65535"},
		{"-host-loopback 10.0.0.1 ls", true, ""},
		{"-host-loopback 127.0.0.1 ls", false, "can stand for the host"},
		{"-host-loopback ::ffff:10.0.0.1 ls", false, "can stand for the host"},
		{"-host-loopback fe80::1%eth0 ls", false, "can stand for the host"},
		{"-host-loopback 0.0.0.0 ls", false, "can stand for the host"},
		{"-host-loopback 198.18.37.2 ls", false, "l3run's own"},
		{"-dns 9.9.9.9,[2620:fe::fe]:5353 ls", true, ""},
		{"-dns 9.9.9.9,quad9 ls", false, "quad9"},
		{"-dns tls://dns.quad9.net ls", true, ""},
		{"-proxy socks5://127.0.0.1:1080 -dns tcp://9.9.9.9 ls", true, ""},
		{"-proxy gopher://127.0.0.1 ls", false, "gopher"},
		{"-proxy socks5://user:secret@127.0.0.1:x ls", false, "socks5://"},
		{"-unknown", false, "unknown"},
		{"-help", false, "Wayland"},
	} {
		var out bytes.Buffer
		o, err := parseOptions(strings.Fields(tc.args), &out)
		said := out.String()
		if err != nil && !errors.Is(err, flag.ErrHelp) {
			said += err.Error()
		}
		if strings.Contains(said, "secret") {
			t.Errorf("%s: says %q", tc.args, said)
		}
		if (err == nil) != tc.ok || !strings.Contains(said, tc.says) || tc.ok && said != "" {
			t.Errorf("%s: error %v, want ok %t and %q\n%s", tc.args, err, tc.ok, tc.says, out.String())
		}
		if err == nil && tc.args == "-v -- curl -v" && (!o.verbose || strings.Join(o.command, " ") != "curl -v") {
			t.Errorf("%s: %+v", tc.args, o)
		}
	}
}

func TestResolvConf(t *testing.T) {
	for _, tc := range []struct{ host, inside, without string }{
		{"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan home\n",
			"options edns0 trust-ad\nsearch lan home\n", "options edns0 trust-ad\n"},
		{"# nothing\n", "", ""},
		{"nameserver fe80::1%eth0\nnameserver\nnameserver nonsense\ndomain x\n", "domain x\n", ""},
	} {
		for search, rest := range map[bool]string{true: tc.inside, false: tc.without} {
			want := "# l3run: names are looked up outside\nnameserver 192.0.2.1\n" + rest
			if got := parseResolvConf(tc.host).inside(netip.MustParseAddr("192.0.2.1"), search); got != want {
				t.Errorf("%q: inside %q, want %q", tc.host, got, want)
			}
		}
	}
}

// wayOf is the way that args say.
func wayOf(t *testing.T, args string, in instead) *way {
	t.Helper()
	o, err := parseOptions(strings.Fields(args), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWay(o, in, new(direct.Dialer), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestHostLoopbackRoute(t *testing.T) {
	in := hostLoopback([]netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::9")})
	for _, args := range []string{"ls", "-proxy socks5://127.0.0.1:1 ls"} {
		w := wayOf(t, args, in)
		for dst, want := range map[string]string{
			"10.0.0.9:80":    "127.0.0.1:80",
			"[fd00::9]:443":  "[::1]:443",
			"10.0.0.8:80":    "",
			"127.0.0.1:80":   "",
			"[fd00::8]:1234": "",
		} {
			target, err := w.route(t.Context(), outbound.Flow{Network: "tcp", Destination: netip.MustParseAddrPort(dst)})
			got := ""
			if target.Addr.IsValid() {
				got = target.Addr.String()
			}
			if err != nil || got != want || target.Trusted != (want != "") || want != "" && target.Dialer != outbound.Dialer(w.host) {
				t.Errorf("%s: %+v, %v, want %s", dst, target, err, want)
			}
		}
	}
	w := wayOf(t, "ls", nil)
	if target, err := w.route(t.Context(), outbound.Flow{Network: "tcp", Destination: netip.MustParseAddrPort("10.0.0.9:80")}); target.Trusted || err != nil {
		t.Errorf("without -host-loopback: %+v, %v", target, err)
	}
}

// TestProxyRoute: behind a proxy no flow is given a dialer of the host's.
func TestProxyRoute(t *testing.T) {
	for _, tc := range []struct {
		proxy string
		udp   bool
	}{{"socks5://127.0.0.1:1", true}, {"socks5://127.0.0.1:1?udp=false", false}, {"http://127.0.0.1:1", false}} {
		w := wayOf(t, "-proxy "+tc.proxy+" ls", nil)
		client := netip.AddrPortFrom(insideAddrs[0], 40000)
		v4, v6, err := w.pool.Assign(client.Addr(), "www.example")
		if err != nil {
			t.Fatal(err)
		}
		flow := func(network string, a netip.Addr, port uint16) outbound.Flow {
			return outbound.Flow{Network: network, Source: client, Destination: netip.AddrPortFrom(a, port)}
		}
		for _, f := range []outbound.Flow{
			flow("tcp", v4, 80), flow("udp", v6, 443), flow("tcp", netip.MustParseAddr("192.0.2.1"), 80), flow("icmp", v4, 0),
		} {
			target, err := w.route(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if w.pool.Contains(f.Destination.Addr()) {
				want = "www.example"
			}
			_, carries := target.Dialer.(outbound.PacketListener)
			if target.Host != want || target.Trusted || target.Dialer == nil || target.Handler != nil || carries != tc.udp || (target.PacketListener != nil) != tc.udp {
				t.Errorf("%s, %v: %+v", tc.proxy, f, target)
			}
			if _, ok := target.Dialer.(*direct.Dialer); ok {
				t.Errorf("%s, %v: dialled from the host", tc.proxy, f)
			}
		}
		for _, a := range []string{"8.8.8.8", "198.18.37.2", "fd6c:3366:616b:6500::7"} {
			if target, err := w.route(t.Context(), flow("udp", netip.MustParseAddr(a), 53)); err != nil || target.Handler == nil || target.Dialer != outbound.Dialer(w.names) {
				t.Errorf("a query to %s: %+v %v", a, target, err)
			}
		}
		last := netip.MustParseAddr("198.19.255.254")
		if last == v4 {
			continue
		}
		if target, err := w.route(t.Context(), flow("tcp", last, 80)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("an address without a name: %+v %v", target, err)
		}
	}
}

// TestFakeAddressesArePinned for as long as flows to them live.
func TestFakeAddressesArePinned(t *testing.T) {
	w := wayOf(t, "-proxy socks5://127.0.0.1:1 ls", nil)
	a, _, err := w.pool.Assign(insideAddrs[0], "www.example")
	if err != nil {
		t.Fatal(err)
	}
	var closed int
	trace := stack.Trace{Close: func(stack.Flow) { closed++ }}
	w.pin(&trace)
	for id := range stack.FlowID(3) {
		trace.Open(stack.Flow{ID: id, Destination: netip.AddrPortFrom(a, 80)})
	}
	trace.Open(stack.Flow{ID: 9, Destination: netip.MustParseAddrPort("192.0.2.1:80")})
	if n := w.pool.Stats().Pinned; n != 1 {
		t.Errorf("%d pinned", n)
	}
	for _, id := range []stack.FlowID{0, 1, 2, 9} {
		trace.Close(stack.Flow{ID: id, Destination: netip.AddrPortFrom(a, 80)})
	}
	if n := w.pool.Stats().Pinned; n != 0 || closed != 4 {
		t.Errorf("%d pinned, %d closed", n, closed)
	}
}

func TestFlowLog(t *testing.T) {
	var out bytes.Buffer
	l := newFlowLog(&out)
	opened := time.Unix(1000, 0)
	f := stack.Flow{
		Network: "tcp", Source: netip.MustParseAddrPort("10.0.0.1:1234"), Destination: netip.MustParseAddrPort("[2001:db8::1]:80"),
		Opened: opened, Ended: opened.Add(1234567 * time.Microsecond), In: 78, Out: 1256, Cause: fmt.Errorf("%w: %w", stack.ResetByUpstream, io.ErrUnexpectedEOF),
	}
	l.flow(f)
	l.answer(dns.Answer{Name: "www.test", Type: "A", Rcode: "NOERROR", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}})
	l.answer(dns.Answer{Name: "none.test", Type: "MX", Rcode: "NXDOMAIN"})
	l.Close()
	l.flow(f) // too late, and harmless
	l.Close()
	want := "l3run: tcp 10.0.0.1:1234 -> [2001:db8::1]:80  sent 78 received 1256  1.2346s  reset by upstream\n" +
		"l3run: dns www.test A  10.0.0.1 10.0.0.2\nl3run: dns none.test MX  NXDOMAIN\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
