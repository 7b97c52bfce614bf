package forward

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"l3extract/adapters/outbound"
	"l3extract/internal/packet"
	"l3extract/stack"
	"l3extract/udp"
)

// TestToldOfAnother: an ICMP error of the client about what it was sent before does not
// cost it the next datagram from upstream.
func TestToldOfAnother(t *testing.T) {
	r := newIdleRig(t, &Server{Route: func(_ context.Context, f outbound.Flow) (Target, error) {
		return Target{Addr: f.Destination, Trusted: true}, nil
	}}, stack.Config{})
	socks := r.server.UDP().Sockets()
	server := netip.MustParseAddrPort("198.51.100.7:1053")
	pc, err := r.client.ListenPacket(soon(t), "udp", "10.9.0.2:4000")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_ = pc.SetDeadline(time.Now().Add(patience))
	ask := func() {
		t.Helper()
		if _, err := pc.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(server)); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	s := &socket{session: r.work, sock: <-socks}
	s.name(server, server)
	p := r.prober(t, false)
	queued := 1
	refuse := func() { // and wait until the stack has read that
		t.Helper()
		quoted := packet.AppendUDP(nil, server, s.sock.Source(), 64, 0, []byte("before"))
		whole := packet.AppendICMPError(nil, s.sock.Source().Addr(), packet.PortUnreachable, quoted, 0)
		if _, err := p.pc.WriteTo(whole[20:], &net.IPAddr{IP: server.Addr().AsSlice()}); err != nil {
			t.Fatal(err)
		}
		ask()
		queued++
		wait(t, "a datagram", func() bool { return s.sock.Info().Queued == queued })
	}
	got := func(want string) {
		t.Helper()
		b := make([]byte, 100)
		if n, from, err := pc.ReadFrom(b); err != nil || string(b[:n]) != want || from.String() != server.String() {
			t.Errorf("the client got %q from %v, %v, want %q", b[:n], from, err, want)
		}
	}

	refuse()
	if err := s.answer(udp.Msg{Payload: []byte("one"), Source: server}); err != nil {
		t.Errorf("one datagram: %v", err)
	}
	got("one")

	refuse()
	recv := newReceiver()
	for i, text := range []string{"two", "three"} {
		recv.hdrs[i].hdr.Namelen = putName(&recv.names[i], server, false)
		recv.hdrs[i].hdr.SetControllen(0)
		recv.hdrs[i].n = uint32(copy(recv.bufs[i][:], text))
	}
	(&upstream{s: s}).inwards(recv, 2)
	got("two")
	got("three")
	if st := r.fwd.Stats(); st.DatagramsIn != 2 || st.DatagramsLost != 0 {
		t.Errorf("%+v", st)
	}
}
