package forward

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"l3extract/stack"
)

// TestRunTooLarge: a run of datagrams larger than the MTU on the way, which the system
// does not take, is sent one by one; what follows is sent in runs again.
func TestRunTooLarge(t *testing.T) {
	near, far := newNetns(t), newNetns(t)
	near.join(far, []string{"203.0.113.1/24"}, []string{"203.0.113.9/24"})
	near.do(func() {
		link, err := netlink.LinkByName("near")
		if err == nil {
			err = netlink.LinkSetMTU(link, 1000)
		}
		if err != nil {
			t.Error(err)
		}
	})
	server := far.udp("203.0.113.9:0")
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	raw, err := near.udp("203.0.113.1:0").SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	r := newIdleRig(t, &Server{}, stack.Config{})
	s := &socket{session: r.work}
	_ = raw.Control(func(fd uintptr) {
		u := &upstream{s: s, fd: int(fd)}
		domain, err := unix.GetsockoptInt(u.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil {
			t.Fatal(err)
		}
		u.six = domain == unix.AF_INET6
		p := new(pump)
		fill := func(n, size, messages int) {
			t.Helper()
			for i := range n {
				p.g.add(bytes.Repeat([]byte{byte(i)}, size), netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), u)
			}
			if p.g.n != messages {
				t.Errorf("%d messages of %d datagrams, want %d", p.g.n, n, messages)
			}
		}
		flush := func(want int) {
			t.Helper()
			if done, result := s.flush(p, 0, u, false); done != want || result != goOn {
				t.Errorf("done with %d, outcome %d, want %d", done, result, want)
			}
		}
		got := func(n, size int) {
			t.Helper()
			b := make([]byte, 2000)
			for i := range n {
				_ = server.SetReadDeadline(time.Now().Add(patience))
				m, _, err := server.ReadFrom(b)
				if err != nil || m != size || b[0] != byte(i) {
					t.Errorf("datagram %d: %d bytes, %v", i, m, err)
				}
			}
		}
		fill(10, 1200, 1)
		flush(0)
		fill(10, 1200, 10)
		flush(10)
		got(10, 1200)
		fill(10, 500, 1)
		flush(10)
		got(10, 500)
	})
}

// TestTakesNoRuns: which errors say that of a whole socket.
func TestTakesNoRuns(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EIO, unix.EOPNOTSUPP, unix.ENOPROTOOPT} {
		if !takesNoRuns(errno) {
			t.Errorf("%v does not", errno)
		}
	}
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EMSGSIZE, unix.EPERM, unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.ENOBUFS} {
		if takesNoRuns(errno) {
			t.Errorf("%v does", errno)
		}
	}
}
