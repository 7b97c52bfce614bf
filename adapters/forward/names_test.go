package forward

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
	"l3extract/stack"
)

// TestNamedTargets: a datagram to a name goes to the proxy as such, and what answers it,
// from wherever, has the address that stands for the name. Two names of one port need two
// sockets to be told apart; there are so many and no more, and the one that was used least
// recently makes room.
func TestNamedTargets(t *testing.T) {
	eachRoute(t, func(t *testing.T, atOnce bool) {
		p := new(relayServer)
		rs := routes{
			"198.18.0.1:443":   {Host: "one.example", PacketListener: p},
			"198.18.0.2:443":   {Host: "two.example", PacketListener: p},
			"198.18.0.2:80":    {Host: "two.example", PacketListener: p},
			"203.0.113.77:443": {PacketListener: p},
		}
		for i := range maxOutlets {
			rs[fmt.Sprintf("198.18.1.%d:443", i)] = Target{Host: "more.example", PacketListener: p}
		}
		r := newRig(t, rs.server(atOnce, nil), stack.Config{})
		k := r.talker(t, "10.9.0.2:4000")
		k.say("1", "198.18.0.1:443")
		p.conn(t, 0).got(t, "1", "one.example:443")
		k.say("2", "198.18.0.2:80")
		p.conn(t, 0).got(t, "2", "two.example:80")
		k.say("3", "198.18.0.2:443")
		p.conn(t, 1).got(t, "3", "two.example:443")
		k.say("4", "203.0.113.77:443")
		p.conn(t, 0).got(t, "4", "203.0.113.77:443")

		p.conn(t, 1).say("three", "203.0.113.1:443")
		k.got("three", "198.18.0.2:443")
		p.conn(t, 0).say("one", "203.0.113.1:443")
		k.got("one", "198.18.0.1:443")
		p.conn(t, 0).say("one, by another address", "192.168.7.7:443") // what a name is at the proxy's end is no matter of the Policy's
		k.got("one, by another address", "198.18.0.1:443")
		p.conn(t, 0).say("two", "203.0.113.2:80")
		k.got("two", "198.18.0.2:80")
		p.conn(t, 0).say("four", "203.0.113.77:443")
		k.got("four", "203.0.113.77:443")
		p.conn(t, 0).in <- packetFrom{b: "by name", addr: outbound.Name{Host: "one.example", Port: 443}}
		k.got("by name", "198.18.0.1:443")
		p.conn(t, 0).say("from elsewhere", "203.0.113.9:9")
		k.got("from elsewhere", "203.0.113.9:9")
		p.conn(t, 0).say("from loopback", "127.0.0.1:9")
		wait(t, "a stranger to be kept away", func() bool { return r.fwd.Stats().PolicyDatagrams == 1 })

		for i := range maxOutlets - 2 {
			k.say("more", fmt.Sprintf("198.18.1.%d:443", i))
			p.conn(t, 2+i).got(t, "more", "more.example:443")
		}
		k.say("5", "198.18.0.1:443") // by the first socket, so that the second is the oldest
		p.conn(t, 0).got(t, "5", "one.example:443")
		k.say("too many", fmt.Sprintf("198.18.1.%d:443", maxOutlets-1))
		p.conn(t, maxOutlets).got(t, "too many", "more.example:443")
		<-p.conn(t, 1).closed
		k.say("6", "198.18.0.1:443")
		p.conn(t, 0).got(t, "6", "one.example:443")
		k.say("7", "198.18.0.2:443") // which went by what was closed
		p.conn(t, maxOutlets+1).got(t, "7", "two.example:443")
		if st := r.fwd.Stats(); st.OutletsOver != 2 || st.DatagramsLost != 0 || st.Sockets != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestNamesOfTheHost: a name that goes by the host's own sockets is resolved here, and its
// addresses are judged.
func TestNamesOfTheHost(t *testing.T) {
	eachRoute(t, func(t *testing.T, atOnce bool) {
		server, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		_ = server.SetDeadline(time.Now().Add(patience))
		at := netip.AddrPortFrom(netip.IPv4Unspecified(), server.LocalAddr().(*net.UDPAddr).AddrPort().Port())
		r := newRig(t, routes{
			"198.18.0.1:53": {Host: "localhost", Addr: at, Trusted: true},
			"198.18.0.2:53": {Host: "localhost", Addr: at},
		}.server(atOnce, nil), stack.Config{})
		k := r.talker(t, "10.9.0.2:4000")
		for range 2 {
			k.say("question", "198.18.0.1:53")
			b := make([]byte, 100)
			n, from, err := server.ReadFrom(b)
			if err != nil || string(b[:n]) != "question" {
				t.Fatalf("%q, %v", b[:n], err)
			}
			_, _ = server.WriteTo([]byte("answer"), from)
			k.got("answer", "198.18.0.1:53")
		}
		k.say("question", "198.18.0.2:53")
		wait(t, "the name to be refused", func() bool { return r.fwd.Stats().PolicyDatagrams == 1 })
	})
}

// TestResolve: of a name's addresses the first that the Policy allows is taken, best one
// of the destination's family.
func TestResolve(t *testing.T) {
	r := newIdleRig(t, &Server{}, stack.Config{})
	dns := func(answers ...string) *direct.Dialer {
		return &direct.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return fakeDNS(t, answers), nil
		}}}
	}
	for _, tc := range []struct {
		dst  string
		d    *direct.Dialer
		want string // the reason or the address
	}{
		{"198.18.0.1:53", dns("203.0.113.1", "2001:db8::1"), "203.0.113.1:99"},
		{"[fd18::1]:53", dns("203.0.113.1", "2001:db8::1"), "[2001:db8::1]:99"},
		{"[fd18::1]:53", dns("203.0.113.1"), "203.0.113.1:99"},
		{"198.18.0.1:53", dns("127.0.0.1", "203.0.113.2"), "203.0.113.2:99"},
		{"198.18.0.1:53", dns("127.0.0.1", "2001:db8::1"), "[2001:db8::1]:99"},
		{"198.18.0.1:53", dns("127.0.0.1", "::1"), "policy refuses"},
		{"198.18.0.1:53", dns(), "no such host"},
	} {
		s := &socket{session: r.work}
		w := &way{dst: netip.MustParseAddrPort(tc.dst), host: "name.example", port: 99, listener: tc.d}
		err := s.resolve(t.Context(), w)
		switch got := w.target; {
		case err == nil:
			name, renamed := s.called(nil, origin{addr: got})
			if got.String() != tc.want || w.key.six != got.Addr().Is6() || !renamed || name != w.dst {
				t.Errorf("%s: %v, called %v, want %s", tc.dst, got, name, tc.want)
			}
		case !strings.Contains(err.Error(), tc.want):
			t.Errorf("%s: %v, want %s", tc.dst, err, tc.want)
		}
	}
}

// fakeDNS is a conn to a server that knows the answers to all questions.
func fakeDNS(t *testing.T, answers []string) net.Conn {
	near, far := net.Pipe()
	go func() { // ends with near
		defer far.Close()
		for {
			var size [2]byte
			if _, err := io.ReadFull(far, size[:]); err != nil {
				return
			}
			b := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(far, b); err != nil {
				return
			}
			var m dnsmessage.Message
			if err := m.Unpack(b); err != nil {
				t.Error(err)
				return
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			for _, s := range answers {
				a, q := netip.MustParseAddr(s), m.Questions[0]
				h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}
				switch {
				case a.Is4() && q.Type == dnsmessage.TypeA:
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
				case a.Is6() && q.Type == dnsmessage.TypeAAAA:
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
				}
			}
			b, err := m.Pack()
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := far.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
				return
			}
		}
	}()
	return near
}
