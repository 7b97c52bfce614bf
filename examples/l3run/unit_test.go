package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

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
		{"-unknown", false, "unknown"},
		{"-help", false, "Wayland"},
	} {
		var out bytes.Buffer
		o, err := parseOptions(strings.Fields(tc.args), &out)
		said := out.String()
		if err != nil && !errors.Is(err, flag.ErrHelp) {
			said += err.Error()
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
	for _, tc := range []struct{ host, servers, inside string }{
		{"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan home\n",
			"127.0.0.53:53", "options edns0 trust-ad\nsearch lan home\n"},
		{"# nothing\n", "127.0.0.1:53", ""},
		{"nameserver fe80::1%eth0\nnameserver ::ffff:9.9.9.9\nnameserver\nnameserver nonsense\ndomain x\n",
			"[fe80::1%eth0]:53 9.9.9.9:53", "domain x\n"},
	} {
		r := parseResolvConf(tc.host)
		var servers []string
		for _, s := range r.servers {
			servers = append(servers, s.String())
		}
		if got := strings.Join(servers, " "); got != tc.servers {
			t.Errorf("%q: servers %s, want %s", tc.host, got, tc.servers)
		}
		want := "# l3run: names are looked up outside\nnameserver 192.0.2.1\n" + tc.inside
		if got := r.inside(netip.MustParseAddr("192.0.2.1")); got != want {
			t.Errorf("%q: inside %q, want %q", tc.host, got, want)
		}
	}
}

func TestServerFailure(t *testing.T) {
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03www\x00\x00\x01\x00\x01rest")
	got := serverFailure(query)
	want := "\x12\x34\x81\x82\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x00\x00\x01\x00\x01rest"
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHostLoopbackRoute(t *testing.T) {
	in := hostLoopback([]netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::9")})
	for dst, want := range map[string]string{
		"10.0.0.9:80":    "127.0.0.1:80",
		"[fd00::9]:443":  "[::1]:443",
		"10.0.0.8:80":    "",
		"127.0.0.1:80":   "",
		"[fd00::8]:1234": "",
	} {
		target, err := in.route(t.Context(), outbound.Flow{Network: "tcp", Destination: netip.MustParseAddrPort(dst)})
		got := ""
		if target.Addr.IsValid() {
			got = target.Addr.String()
		}
		if err != nil || got != want || target.Trusted != (want != "") {
			t.Errorf("%s: %+v, %v, want %s", dst, target, err, want)
		}
	}
	if target, err := instead(nil).route(t.Context(), outbound.Flow{Network: "tcp", Destination: netip.MustParseAddrPort("10.0.0.9:80")}); target.Trusted || err != nil {
		t.Errorf("without -host-loopback: %+v, %v", target, err)
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
	f.Source = netip.AddrPort{}
	l.flow(f) // a socket of l3run's own
	l.Close()
	l.flow(f) // too late, and harmless
	l.Close()
	want := "l3run: tcp 10.0.0.1:1234 -> [2001:db8::1]:80  sent 78 received 1256  1.2346s  reset by upstream\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
