package dns

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"l3extract/adapters/outbound"
)

// listen serves s on a port of the loopback of either family, over UDP and TCP, as a
// stack would: the sockets are the test's.
func listen(t *testing.T, s *Server) (port string) {
	t.Helper()
	var g sync.WaitGroup
	var ln net.Listener
	var pc net.PacketConn
	for range 50 { // a port that is free for TCP may be somebody's for UDP
		var err error
		if ln, err = net.Listen("tcp", "[::]:0"); err != nil {
			t.Fatal(err)
		}
		if pc, err = net.ListenPacket("udp", ln.Addr().String()); err == nil {
			break
		}
		ln.Close()
	}
	if pc == nil {
		t.Fatal("no port that is free for both")
	}
	_ = pc.(*net.UDPConn).SetReadBuffer(4 << 20)
	t.Cleanup(func() { ln.Close(); pc.Close(); g.Wait() })
	g.Go(func() {
		b := make([]byte, 65535)
		for {
			n, from, err := pc.(*net.UDPConn).ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			s.HandlePacket(outbound.Flow{Network: "udp", Source: from, Destination: server}, b[:n], func(p []byte) {
				_, _ = pc.(*net.UDPConn).WriteToUDPAddrPort(p, from)
			})
		}
	})
	g.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f := outbound.Flow{Network: "tcp", Source: netip.MustParseAddrPort(c.RemoteAddr().String()), Destination: server}
			up, err := s.DialContext(outbound.WithFlow(t.Context(), f), "tcp", server.String())
			if err != nil {
				c.Close()
				continue
			}
			g.Go(func() { _, _ = io.Copy(up, c); _ = up.(*conn).CloseWrite() })
			g.Go(func() { _, _ = io.Copy(c, up); c.Close(); up.Close() })
		}
	})
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

func dig(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("dig"); err != nil {
		t.Skip("needs dig")
	}
	cmd := exec.Command("dig", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("dig %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestDig(t *testing.T) {
	var records []string
	for i := range 200 {
		records = append(records, fmt.Sprintf("big.example. 60 IN A 192.0.2.%d", i), fmt.Sprintf("big.example. 60 IN TXT %s", strings.Repeat("x", 50)))
	}
	records = append(records, "www.example. 60 IN A 192.0.2.1", "www.example. 60 IN AAAA 2001:db8::1")
	s := newServer(t, &Config{Upstream: zone(records...), Fake: newPool(t, nil), Rules: []Rule{{Domains: []string{"example"}}}})
	port := listen(t, s)
	for _, tc := range []struct{ args, want string }{
		{"+notcp +ignore www.example", "ANSWER: 1,"},
		{"+tcp www.example", "192.0.2.1"},
		{"+noedns www.example AAAA", "2001:db8::1"},
		{"+dnssec +cd www.example", "flags: do"},
		{"big.example", "MSG SIZE  rcvd: 3"},                 // over TCP, after TC
		{"+notcp +ignore big.example", "flags: qr tc rd ra"}, // dig does not follow it
		{"none.example", "status: NXDOMAIN"},
		{"fake.test", "198.1"},
		{"+edns=1 +noednsneg www.example", "BADVERS"},
		{"+opcode=NOTIFY www.example", "NOTIMP"},
		{"-c CH -t TXT version.bind", "REFUSED"},
		{"www.example AXFR", "Transfer failed"},
		{"+tcp +keepopen www.example none.example big.example", "192.0.2.199"},
	} {
		for _, at := range []string{"127.0.0.1", "::1"} {
			args := append([]string{"@" + at, "-p", port, "+tries=1", "+time=30", "+qr"}, strings.Fields(tc.args)...)
			if out := dig(t, "", args...); !strings.Contains(out, tc.want) {
				t.Errorf("dig %s: want %q\n%s", tc.args, tc.want, out)
			}
		}
	}
	fake := strings.TrimSpace(dig(t, "", "@127.0.0.1", "-p", port, "+short", "fake.test", "AAAA"))
	if got := dig(t, "", "@127.0.0.1", "-p", port, "+short", "-x", fake); got != "fake.test.\n" {
		t.Errorf("%s is %q", fake, got)
	}
}

// TestDigBurst: ten thousand queries, a tenth of them for one name, are all answered.
func TestDigBurst(t *testing.T) {
	up := zone("www.example. 60 IN A 192.0.2.1")
	s := newServer(t, &Config{Upstream: up, Fake: newPool(t, nil), Rules: []Rule{{Domains: []string{"example"}}}})
	port := listen(t, s)
	for _, over := range []string{"+notcp", "+tcp +keepopen"} {
		var list bytes.Buffer
		for i := range 10_000 {
			switch i % 10 {
			case 0:
				fmt.Fprintln(&list, "www.example")
			case 1:
				fmt.Fprintf(&list, "h%d.example\n", i)
			default:
				fmt.Fprintf(&list, "h%d.test AAAA\n", i)
			}
		}
		args := append([]string{"-f", "-", "@127.0.0.1", "-p", port, "+tries=2", "+time=30"}, strings.Fields(over)...)
		out := dig(t, list.String(), args...)
		ok, none := strings.Count(out, "status: NOERROR"), strings.Count(out, "status: NXDOMAIN")
		if ok != 9000 || none != 1000 {
			st, _ := json.Marshal(s.Stats())
			t.Errorf("%s: %d answers and %d of no name\n%s", over, ok, none, st)
		}
	}
	if n := up.times(); n > 1100 {
		t.Errorf("the upstream was asked %d times", n)
	}
}
