package forward

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/internal/packet"
	"l3extract/stack"
)

// TestForgedError: an ICMP error from outside about a target that the client never
// asked does not reach it, and is counted; one about the target that it asked does.
func TestForgedError(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		t.Skipf("no raw sockets here: %v", err)
	}
	defer unix.Close(fd)
	dials := make(chan Dial, 1)
	r := newRig(t, &Server{OnDial: func(d Dial) { dials <- d }}, stack.Config{})
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	const name = "198.51.100.7:1053"
	r.front(name, sink.LocalAddr())
	p := r.prober(t, false)
	c, err := r.client.DialContext(soon(t), "udp", name)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	local := netip.MustParseAddrPort((<-dials).Address)
	_ = sink.SetReadDeadline(time.Now().Add(patience))
	if _, _, err := sink.ReadFrom(make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	forge := func(target netip.AddrPort) {
		t.Helper()
		quoted := packet.AppendUDP(nil, netip.AddrPortFrom(loopback, local.Port()), target, 64, 0, []byte("x"))
		whole := packet.AppendICMPError(nil, netip.MustParseAddr("203.0.113.1"), packet.HostUnreachable, quoted, 0)
		if err := unix.Sendto(fd, whole[20:], 0, &unix.SockaddrInet4{Addr: loopback.As4()}); err != nil {
			t.Fatal(err)
		}
	}
	forge(netip.MustParseAddrPort("203.0.113.77:4444"))
	wait(t, "the forged error", func() bool { return r.fwd.Stats().DatagramErrorsForged == 1 })
	if n := r.fwd.Stats().DatagramErrors; n != 0 {
		t.Errorf("the client was told %d times of what it did not send", n)
	}
	forge(sink.LocalAddr().(*net.UDPAddr).AddrPort())
	p.wantError("198.51.100.7", 3, 1)
	if st := r.fwd.Stats(); st.DatagramErrors != 1 || st.DatagramErrorsForged != 1 {
		t.Errorf("%+v", st)
	}
}
