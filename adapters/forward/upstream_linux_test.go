package forward

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"l3extract/internal/packet"
)

// polledEvents returns what poll reports of fd within wait milliseconds.
func polledEvents(t *testing.T, fd int, wait int) int16 {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(fd)}} // errors are reported unasked
	for {
		_, err := unix.Poll(p, wait)
		if err == nil {
			return p[0].Revents
		}
		if err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

// TestErrorWithoutQueue: a pending error of which nothing is queued, as is left behind
// when the queue is emptied before the kernel sets it, is reported once and not for
// ever. A connected socket without an error queue has one.
func TestErrorWithoutQueue(t *testing.T) {
	closed, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	to := closed.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = closed.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	u := &upstream{s: new(socket), fd: fd}
	if err := unix.Connect(fd, u.sockaddr(to)); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte("knock")); err != nil {
		t.Fatal(err)
	}
	if got := polledEvents(t, fd, int(patience.Milliseconds())); got != unix.POLLERR {
		t.Fatalf("events %#x, want an error", got)
	}
	u.Ready(unix.EPOLLERR)
	if got := polledEvents(t, fd, 0); got != 0 || u.failures != 0 {
		t.Errorf("events %#x are left, %d failures", got, u.failures)
	}
}

// TestFaultsAtATime: a full error queue is emptied in parts, and the poller is told of
// what is left.
func TestFaultsAtATime(t *testing.T) {
	const errors = 2*maxFaults + maxFaults/2
	icmp, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		t.Skipf("no raw sockets here: %v", err)
	}
	defer unix.Close(icmp)
	loopback := netip.MustParseAddr("127.0.0.1")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback.As4()})
	}
	if err == nil {
		err = queueErrors(fd, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	target := netip.MustParseAddrPort("203.0.113.77:4444")
	quoted := packet.AppendUDP(nil, addrPortFrom(name), target, 64, 0, []byte("x"))
	whole := packet.AppendICMPError(nil, loopback, packet.HostUnreachable, quoted, 0)
	for range errors {
		if err := unix.Sendto(icmp, whole[20:], 0, &unix.SockaddrInet4{Addr: loopback.As4()}); err != nil {
			t.Fatal(err)
		}
	}
	u := &upstream{s: new(socket), fd: fd}
	for told := 0; told < errors; {
		if got := polledEvents(t, fd, int(patience.Milliseconds())); got != unix.POLLERR {
			t.Fatalf("events %#x with %d of %d errors told", got, told, errors)
		}
		n := 0
		any := u.faults(func(q queuedFault) {
			if n++; q.target != target || q.fault.Kind != packet.HostUnreachable {
				t.Errorf("%+v", q)
			}
		})
		if n > maxFaults || any != (n > 0) {
			t.Errorf("%d errors at a time, %v", n, any)
		}
		if told += n; n == 0 {
			u.clearError()
		}
	}
	if u.faults(func(queuedFault) {}) {
		t.Error("more errors than came")
	}
}
