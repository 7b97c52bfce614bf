package forward

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"l3extract/internal/packet"
	"l3extract/stack"
)

// cmsg builds a control message.
func cmsg(level, typ int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// extended is a sock_extended_err with who reported it.
func extended(origin, typ, code uint8, info uint32, from string) []byte {
	b := make([]byte, 16, 44)
	b[4], b[5], b[6] = origin, typ, code
	binary.NativeEndian.PutUint32(b[8:], info)
	sa := make([]byte, 28)
	if a, err := netip.ParseAddr(from); err != nil {
		sa = nil
	} else if a.Is4() {
		binary.NativeEndian.PutUint16(sa, unix.AF_INET)
		copy(sa[4:], a.AsSlice())
		sa = sa[:16]
	} else {
		binary.NativeEndian.PutUint16(sa, unix.AF_INET6)
		copy(sa[8:], a.AsSlice())
	}
	return append(b, sa...)
}

func recvErr4(data []byte) []byte { return cmsg(unix.IPPROTO_IP, unix.IP_RECVERR, data) }
func recvErr6(data []byte) []byte { return cmsg(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, data) }

// TestParseFault: what the kernel's queue says, and what of it is sent on.
func TestParseFault(t *testing.T) {
	a := netip.MustParseAddr
	ttl := cmsg(unix.IPPROTO_IP, unix.IP_TTL, []byte{1, 0, 0, 0})
	for name, tc := range map[string]struct {
		oob  []byte
		want packet.Fault // zero: none
	}{
		"port":             {recvErr4(extended(2, 3, 3, 0, "10.0.0.1")), packet.Fault{Kind: packet.PortUnreachable, From: a("10.0.0.1")}},
		"behind another":   {append(ttl, recvErr4(extended(2, 3, 1, 0, "10.0.0.1"))...), packet.Fault{Kind: packet.HostUnreachable, From: a("10.0.0.1")}},
		"time":             {recvErr4(extended(2, 11, 0, 0, "10.0.0.1")), packet.Fault{Kind: packet.TimeExceeded, From: a("10.0.0.1")}},
		"too big":          {recvErr4(extended(2, 3, 4, 1400, "10.0.0.1")), packet.Fault{Kind: packet.TooBig, From: a("10.0.0.1"), MTU: 1400}},
		"absurdly big":     {recvErr6(extended(3, 2, 0, 1<<31, "fd00::1")), packet.Fault{Kind: packet.TooBig, From: a("fd00::1"), MTU: 1 << 16}},
		"prohibited, v6":   {recvErr6(extended(3, 1, 1, 0, "fd00::1")), packet.Fault{Kind: packet.AdminProhibited, From: a("fd00::1")}},
		"from nobody":      {recvErr6(extended(3, 3, 0, 0, "")), packet.Fault{Kind: packet.TimeExceeded}},
		"v4 on a v6 one":   {recvErr6(extended(2, 3, 0, 0, "10.0.0.1")), packet.Fault{Kind: packet.NetUnreachable, From: a("10.0.0.1")}},
		"of the host":      {recvErr4(extended(1, 0, 0, 1400, "")), packet.Fault{}},
		"a timestamp":      {recvErr4(extended(4, 0, 0, 0, "")), packet.Fault{}},
		"parameter":        {recvErr4(extended(2, 12, 0, 0, "10.0.0.1")), packet.Fault{}},
		"short":            {recvErr4(extended(2, 3, 3, 0, "")[:15]), packet.Fault{}},
		"short address":    {recvErr4(extended(2, 3, 3, 0, "10.0.0.1")[:20]), packet.Fault{Kind: packet.PortUnreachable}},
		"another message":  {ttl, packet.Fault{}},
		"nothing":          {nil, packet.Fault{}},
		"a length of none": {make([]byte, 64), packet.Fault{}},
	} {
		got, ok := parseFault(tc.oob)
		if got != tc.want || ok != (tc.want.Kind != 0) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, ok, tc.want)
		}
	}
}

// TestHopControl: what is written is what is read.
func TestHopControl(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		if got := hopsOf(hopControl(v6, 17)); got != 17 {
			t.Errorf("v6 %v: %d hops", v6, got)
		}
	}
	if got := hopsOf(recvErr4(extended(2, 3, 3, 0, ""))); got != 0 {
		t.Errorf("%d hops without a message of them", got)
	}
}

// FuzzControlMessages: whatever the control messages hold, nothing panics, and an
// error that is read can be sent on.
func FuzzControlMessages(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(recvErr4(extended(2, 3, 3, 0, "10.0.0.1")))
	f.Add(recvErr6(extended(3, 2, 0, 1280, "fd00::1")))
	f.Add(append(hopControl(true, 3), recvErr6(extended(3, 1, 4, 0, "fd00::1"))...))
	f.Add(hopControl(false, 255))
	f.Add(recvErr4(extended(2, 3, 3, 0, "10.0.0.1"))[:30])
	q4 := packet.AppendUDP(nil, netip.MustParseAddrPort("10.0.0.2:1"), netip.MustParseAddrPort("198.51.100.7:1"), 0, 0, nil)
	f.Fuzz(func(t *testing.T, oob []byte) {
		_ = hopsOf(oob)
		fault, ok := parseFault(oob)
		if ok != (fault.Kind != 0) {
			t.Fatalf("%+v, %v", fault, ok)
		}
		if !ok {
			return
		}
		if len(packet.AppendICMPError(nil, netip.MustParseAddr("10.0.0.1"), fault.Kind, q4, fault.MTU)) == 0 {
			t.Errorf("%+v cannot be sent", fault)
		}
	})
}

// FuzzPingReply: whatever a ping socket receives, nothing panics, and a reply is what
// lies in the message.
func FuzzPingReply(f *testing.F) {
	a, b := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	reply := packet.AppendEcho(nil, packet.EchoHeader{Src: a, Dst: b, ID: 5, Seq: 6, Reply: true}, []byte("payload"))
	f.Add(reply, true, false)
	f.Add(reply[20:], false, false)
	f.Add(reply[:21], true, false)
	f.Add([]byte{0x4f}, true, false)
	f.Add(packet.AppendEcho(nil, packet.EchoHeader{Src: netip.IPv6Loopback(), Dst: netip.IPv6Loopback(), ID: 5, Seq: 6, Reply: true}, nil)[40:], true, true)
	f.Fuzz(func(t *testing.T, msg []byte, shared, v6 bool) {
		s := &pingSocket{shared: shared, v6: v6, id: 5}
		seq, payload, ok := s.reply(msg)
		if !ok {
			return
		}
		head := msg[len(msg)-len(payload)-packet.EchoLen:]
		id, again, reply, ok := packet.ReadEcho(head, v6)
		if !ok || !reply || again != seq || shared && id != 5 {
			t.Errorf("took %x as the answer to number %d", msg, seq)
		}
	})
}

// TestUpstreamRefuses: nobody listens upstream, so the client is told that its
// datagram's port is unreachable, by the address that it sent it to; its Socket and
// what it says to others live on.
func TestUpstreamRefuses(t *testing.T) {
	for _, tc := range []struct{ network, host, closed, open, local string }{
		{"udp4", "127.0.0.1:0", "198.51.100.7:1", "198.51.100.8:2", "10.9.0.2:4000"},
		{"udp6", "[::1]:0", "[2001:db8::7]:1", "[2001:db8::8]:2", "[fd99::2]:4000"},
	} {
		r := newRig(t, &Server{}, stack.Config{})
		gone, err := net.ListenPacket(tc.network, tc.host)
		if err != nil {
			t.Skipf("no %s here: %v", tc.network, err)
		}
		r.front(tc.closed, gone.LocalAddr())
		_ = gone.Close()
		r.echoUDP(tc.open, tc.network, tc.host)
		c, err := r.client.DialContext(soon(t), "udp", tc.closed)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		for range 3 {
			if _, err := c.Write([]byte("knock")); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 9)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: read: %v, want ECONNREFUSED", tc.closed, err)
			}
		}
		if st := r.fwd.Stats(); st.DatagramErrors != 3 || st.Sockets != 1 {
			t.Errorf("%+v", st)
		}
		// One socket that speaks to both: errors about the one do no harm to the other.
		pc, err := r.client.ListenPacket(soon(t), "udp", tc.local)
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		_ = pc.SetDeadline(time.Now().Add(patience))
		for i := range 50 {
			for _, to := range []string{tc.closed, tc.open} {
				if _, err := pc.WriteTo([]byte{byte(i)}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
					t.Fatal(err)
				}
			}
			b := make([]byte, 9)
			if n, from, err := pc.ReadFrom(b); err != nil || n != 1 || b[0] != byte(i) || from.String() != tc.open {
				t.Fatalf("round %d: %x from %v, %v", i, b[:n], from, err)
			}
		}
		if lost := r.fwd.Stats().DatagramsLost; lost != 0 {
			t.Errorf("%d datagrams lost", lost)
		}
	}
}

// TestLowHops: the TTL of a datagram that may mean something leaves with one less,
// others leave as the host's own.
func TestLowHops(t *testing.T) {
	for _, tc := range []struct {
		network, host, name string
		v6                  bool
	}{{"udp4", "127.0.0.1:0", "198.51.100.7:1", false}, {"udp6", "[::1]:0", "[2001:db8::7]:1", true}} {
		for _, transparent := range []bool{false, true} {
			w := newWireOn(t, &Server{}, stack.Config{Addrs: serverAddrs, ICMP: stack.ICMPConfig{Transparent: transparent}})
			pc, err := net.ListenPacket(tc.network, tc.host)
			if err != nil {
				t.Skipf("no %s here: %v", tc.network, err)
			}
			defer pc.Close()
			raw, err := pc.(*net.UDPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.Control(func(fd uintptr) {
				if tc.v6 {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
				} else {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			w.rig.front(tc.name, pc.LocalAddr())
			less := uint8(1)
			if transparent {
				less = 0
			}
			dst := netip.MustParseAddrPort(tc.name)
			for _, hops := range []struct{ sent, want uint8 }{{2, 2 - less}, {30, 30 - less}, {64, 64}, {255, 64}, {128, 64}} {
				w.send(packet.AppendUDP(nil, source(dst.Addr(), 1234), dst, hops.sent, 0, []byte("x")))
				b, oob := make([]byte, 9), make([]byte, 64)
				_ = pc.SetReadDeadline(time.Now().Add(patience))
				_, n, _, _, err := pc.(*net.UDPConn).ReadMsgUDP(b, oob)
				if got := hopsOf(oob[:n]); err != nil || got != hops.want {
					t.Errorf("%s, transparent %v: %d hops arrived as %d, %v, want %d", tc.name, transparent, hops.sent, got, err, hops.want)
				}
			}
		}
	}
}

// TestPingSockets: a ping socket and a raw one do the same, where the process may have
// both: a reply, and an error for what is refused.
func TestPingSockets(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_RAW} {
			family, proto, name, to := unix.AF_INET, unix.IPPROTO_ICMP, "ip4:icmp", netip.MustParseAddr("127.0.0.1")
			if v6 {
				family, proto, name, to = unix.AF_INET6, unix.IPPROTO_ICMPV6, "ip6:ipv6-icmp", netip.IPv6Loopback()
			}
			fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
			if err != nil {
				t.Logf("no %s socket of kind %d: %v", name, kind, err)
				continue
			}
			f := os.NewFile(uintptr(fd), name)
			pc, err := net.FilePacketConn(f)
			_ = f.Close()
			if err != nil {
				t.Fatal(err)
			}
			s, err := newPingSocket(pc, v6)
			if err != nil {
				t.Fatal(err)
			}
			type pong struct {
				seq     uint16
				from    netip.Addr
				payload string
				ttl     uint8
			}
			pongs, done := make(chan pong, 10), make(chan struct{})
			go func() { // ends with s
				defer close(done)
				s.receive(func(_ bool, seq uint16, from netip.Addr, payload []byte, ttl uint8) {
					pongs <- pong{seq, from, string(payload), ttl}
				}, func(bool, uint16, queuedFault) {})
			}()
			if err := s.send(9, []byte("payload"), to, 5); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			select {
			case got := <-pongs:
				if want := (pong{9, to, "payload", 64}); got != want {
					t.Errorf("%s, kind %d: %+v, want %+v", name, kind, got, want)
				}
			case <-time.After(patience):
				t.Errorf("%s, kind %d: no pong", name, kind)
			}
			if err := s.send(9, make([]byte, 1<<16), to, 5); !errors.Is(err, syscall.EMSGSIZE) {
				t.Errorf("a ping of 64 KiB: %v", err)
			}
			s.close()
			<-done
		}
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newPingSocket(otherPacketConn{pc}, false); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a conn without a descriptor: %v", err)
	}
	if _, err := pc.WriteTo(nil, pc.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it was left open: %v", err)
	}
}
