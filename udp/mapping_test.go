package udp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// TestAddressTable is the table of the package comment, cell by cell.
func TestAddressTable(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		none := netip.AddrPort{}
		unspecified := netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
		if f.client.Addr().Is4() {
			unspecified = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		}
		for _, tc := range []struct {
			mapping             Mapping
			local, remote       netip.AddrPort
			source, destination netip.AddrPort
			readFrom            netip.AddrPort
			writeTo             netip.AddrPort // what the application answers to
		}{
			{PerSource, unspecified, f.client, f.client, none, f.server, f.server},
			{PerFlow, f.server, f.client, f.client, f.server, f.client, f.client},
			{PerDestination, f.server, none, none, f.server, f.client, f.client},
		} {
			t.Run(tc.mapping.String(), func(t *testing.T) {
				r := newRig(t, Config{Mapping: tc.mapping})
				r.receive(f.client, f.server, "one")
				r.receive(f.client, f.server, "two")
				s := r.accept()
				wantAddr(t, "LocalAddr", s.LocalAddr(), tc.local)
				wantAddr(t, "RemoteAddr", s.RemoteAddr(), tc.remote)
				if s.Source() != tc.source || s.Destination() != tc.destination || s.Mapping() != tc.mapping {
					t.Errorf("Source %v, Destination %v, Mapping %v", s.Source(), s.Destination(), s.Mapping())
				}
				b := make([]byte, 100)
				n, addr, err := s.ReadFrom(b)
				if err != nil || string(b[:n]) != "one" {
					t.Fatalf("ReadFrom = %q, %v", b[:n], err)
				}
				wantAddr(t, "ReadFrom's addr", addr, tc.readFrom)
				m, err := s.ReadMsg(b)
				if err != nil || string(m.Payload) != "two" || m.Source != f.client ||
					m.Destination != f.server || m.Truncated() || m.Size != 3 {
					t.Fatalf("ReadMsg = %+v, %v", m, err)
				}
				if n, err := s.WriteTo([]byte("yes"), net.UDPAddrFromAddrPort(tc.writeTo)); n != 3 || err != nil {
					t.Fatalf("WriteTo = %d, %v", n, err)
				}
				r.wantSent(f.server, f.client, "yes")
				if n, err := s.WriteMsg(m.Reply([]byte("msg"))); n != 3 || err != nil {
					t.Fatalf("WriteMsg = %d, %v", n, err)
				}
				r.wantSent(f.server, f.client, "msg")
				_, connected := s.Conn()
				if connected != (tc.mapping == PerFlow) {
					t.Errorf("Conn says %v", connected)
				}
				if i := s.Info(); i.Source != tc.source || i.Destination != tc.destination || i.In != 6 ||
					i.Out != 6 || i.DatagramsIn != 2 || i.DatagramsOut != 2 {
					t.Errorf("Info = %+v", i)
				}
			})
		}
	})
}

func wantAddr(t *testing.T, what string, got net.Addr, want netip.AddrPort) {
	t.Helper()
	if !want.IsValid() {
		if got != nil {
			t.Errorf("%s = %v, want nil", what, got)
		}
		return
	}
	u, ok := got.(*net.UDPAddr)
	if !ok || u.AddrPort() != want {
		t.Errorf("%s = %v (%T), want %v", what, got, got, want)
	}
}

// TestMappingShares says which of three more datagrams reach the first Socket.
func TestMappingShares(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		for _, tc := range []struct {
			mapping                                Mapping
			otherServer, otherPort, otherClientToo bool
		}{
			{PerSource, true, false, false},
			{PerFlow, false, false, false},
			{PerDestination, false, true, true},
		} {
			t.Run(tc.mapping.String(), func(t *testing.T) {
				for _, way := range []struct {
					src, dst netip.AddrPort
					same     bool
				}{
					{f.client, f.server, true},
					{f.client, f.server2, tc.otherServer},
					{f.client, f.far, tc.otherServer},
					{f.other, f.server, tc.otherPort},
					{f.stranger, f.server, tc.otherClientToo},
				} {
					r := newRig(t, Config{Mapping: tc.mapping})
					first := r.opened(f.client, f.server)
					r.receive(way.src, way.dst, "more")
					want := 1
					if !way.same {
						want = 2
						r.accept()
					}
					if got := r.Stats().Sockets; got != want {
						t.Errorf("%v -> %v: %d Sockets, want %d", way.src, way.dst, got, want)
					}
					if got := first.Info().Queued; got != 3-want {
						t.Errorf("%v -> %v: %d in the first Socket", way.src, way.dst, got)
					}
				}
			})
		}
	})
}

// Two servers on one PerSource Socket: each answer comes from the right one, and
// a third address that the client never spoke to may answer too: full cone.
func TestTwoServers(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t, Config{})
		s := r.opened(f.client, f.server)
		r.receive(f.client, f.far, "second")
		b := make([]byte, 100)
		for _, want := range []netip.AddrPort{f.server, f.far} {
			n, from, err := s.ReadFromUDPAddrPort(b)
			if err != nil || from != want {
				t.Fatalf("read from %v, %v; want %v", from, err, want)
			}
			if _, err := s.WriteToUDPAddrPort(b[:n], from); err != nil {
				t.Fatal(err)
			}
			r.wantSent(want, f.client, string(b[:n]))
		}
		if _, err := s.WriteToUDPAddrPort([]byte("hi"), f.stranger); err != nil {
			t.Fatal(err)
		}
		r.wantSent(f.stranger, f.client, "hi")
	})
}

// TestWriteForbidden: what WriteTo and WriteMsg refuse, and how.
func TestWriteForbidden(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		wrong := families[0]
		if f.name == "v4" {
			wrong = families[1]
		}
		none := netip.AddrPort{}
		at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 9) }
		for _, tc := range []struct {
			mapping Mapping
			addr    netip.AddrPort
			want    error
		}{
			{PerSource, none, syscall.EDESTADDRREQ},
			{PerSource, netip.AddrPortFrom(f.server.Addr(), 0), syscall.EDESTADDRREQ},
			{PerSource, at(netip.IPv4Unspecified()), syscall.EDESTADDRREQ},
			{PerSource, wrong.server, syscall.EAFNOSUPPORT},
			{PerSource, at(f.multicast), syscall.EACCES},
			{PerSource, at(f.loopback), syscall.EACCES},
			{PerFlow, none, syscall.EDESTADDRREQ},
			{PerFlow, f.other, syscall.EACCES},
			{PerFlow, f.server, syscall.EACCES},
			{PerFlow, wrong.client, syscall.EACCES},
			{PerDestination, none, syscall.EDESTADDRREQ},
			{PerDestination, netip.AddrPortFrom(f.client.Addr(), 0), syscall.EDESTADDRREQ},
			{PerDestination, wrong.client, syscall.EAFNOSUPPORT},
			{PerDestination, at(f.loopback), syscall.ENETUNREACH},
		} {
			r := newRig(t, Config{Mapping: tc.mapping})
			s := r.opened(f.client, f.server)
			_, err := s.WriteToUDPAddrPort([]byte("x"), tc.addr)
			var op *net.OpError
			if !errors.Is(err, tc.want) || !errors.As(err, &op) || op.Op != "write" || op.Net != "udp" {
				t.Errorf("%v: WriteTo %v = %v, want %v", tc.mapping, tc.addr, err, tc.want)
			}
			if n := len(r.out.take()); n != 0 {
				t.Errorf("%v: WriteTo %v sent %d packets", tc.mapping, tc.addr, n)
			}
		}
	})
}

// WriteMsg may leave fixed ends zero, and must not name others.
func TestWriteMsgEnds(t *testing.T) {
	f := families[0]
	none := netip.AddrPort{}
	for _, tc := range []struct {
		mapping  Mapping
		from, to netip.AddrPort
		want     error
	}{
		{PerSource, f.far, none, nil},
		{PerSource, f.far, f.client, nil},
		{PerSource, none, f.client, syscall.EDESTADDRREQ},
		{PerSource, f.far, f.other, syscall.EACCES},
		{PerFlow, none, none, nil},
		{PerFlow, f.server, f.client, nil},
		{PerFlow, f.far, f.client, syscall.EACCES},
		{PerDestination, none, f.stranger, nil},
		{PerDestination, f.server, f.stranger, nil},
		{PerDestination, f.far, f.stranger, syscall.EACCES},
		{PerDestination, f.server, none, syscall.EDESTADDRREQ},
	} {
		r := newRig(t, Config{Mapping: tc.mapping})
		s := r.opened(f.client, f.server)
		_, err := s.WriteMsg(Msg{Payload: []byte("x"), Source: tc.from, Destination: tc.to})
		if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%v: WriteMsg %v -> %v = %v, want %v", tc.mapping, tc.from, tc.to, err, tc.want)
		}
	}
}

// Any net.Addr that names an address will do, IPv4-mapped ones too.
func TestWriteToAddrTypes(t *testing.T) {
	r := newRig(t, Config{})
	s := r.opened(families[0].client, families[0].server)
	for _, a := range []net.Addr{
		&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7000}, // 16 bytes long
		&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 7000},
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7000},
		printed("192.0.2.1:7000"),
	} {
		if _, err := s.WriteTo([]byte("x"), a); err != nil {
			t.Errorf("WriteTo %T: %v", a, err)
			continue
		}
		r.wantSent(families[0].server, families[0].client, "x")
	}
	for want, a := range map[error]net.Addr{
		syscall.EINVAL:       printed("somewhere"),
		syscall.EDESTADDRREQ: (*net.UDPAddr)(nil),
	} {
		if _, err := s.WriteTo([]byte("x"), a); !errors.Is(err, want) {
			t.Errorf("WriteTo %T = %v, want %v", a, err, want)
		}
	}
	if _, err := s.WriteTo([]byte("x"), nil); !errors.Is(err, syscall.EDESTADDRREQ) {
		t.Errorf("WriteTo nil = %v", err)
	}
}

type printed string

func (p printed) Network() string { return "mine" }
func (p printed) String() string  { return string(p) }
