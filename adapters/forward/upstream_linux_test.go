package forward

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
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
