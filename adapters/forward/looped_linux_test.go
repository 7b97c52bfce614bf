package forward

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l3extract/adapters/direct"
	"l3extract/adapters/socks5"
	"l3extract/l3conn/tun"
	"l3extract/stack"
)

// inLoop makes TestLooped its own child, in a network namespace whose default routes lead
// into a TUN.
const inLoop = "FORWARD_TEST_LOOP"

// TestLooped: what is dialled here and comes back is refused, counted, and told of once;
// the clients hear at once that there is no way.
func TestLooped(t *testing.T) {
	if os.Getenv(inLoop) != "" {
		for _, goroutines = range []bool{false, true} {
			lookAtLoops(t, &direct.Dialer{}, "198.51.100.1", "2001:db8::1")
			lookAtLoops(t, &socks5.Dialer{Address: "203.0.113.1:1080", Dialer: &direct.Dialer{}}, "198.51.100.1")
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLooped$", "-test.v")
	cmd.Env = append(os.Environ(), inLoop+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "SKIP") {
		t.Errorf("%v\n%s", err, out)
	}
}

func lookAtLoops(t *testing.T, d Dialer, hosts ...string) {
	dev, err := tun.Open(&tun.Config{
		Name:   "l3loop",
		Addrs:  []netip.Prefix{netip.MustParsePrefix("10.7.0.1/24"), netip.MustParsePrefix("fd07::1/64")},
		Routes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	var log lockedBuffer
	srv := &Server{Dialer: d, goroutines: goroutines, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	s, err := stack.New(dev, &stack.Config{TCP: lazy})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	s.TCP()
	s.UDP()
	wg.Go(func() { _ = s.Run(context.Background()) })
	wg.Go(func() { _ = srv.Serve(context.Background(), s) })
	defer wg.Wait()
	defer s.Close()
	var looped uint64
	for _, host := range hosts {
		began := srv.Stats().Streams
		_, err := (&net.Dialer{Timeout: patience}).Dial("tcp", net.JoinHostPort(host, "80"))
		if !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ENETUNREACH) { // the latter of a proxy
			t.Errorf("dial %s: %v, want that it is unreachable", host, err)
		}
		if n := srv.Stats().Streams - began; n > 4 {
			t.Errorf("%s: it went around %d times", host, n)
		}
		now := srv.Stats().Looped
		if now == looped {
			t.Errorf("%s: nothing was counted", host)
		}
		looped = now
		if _, ok := d.(*direct.Dialer); !ok {
			continue
		}
		c, err := net.Dial("udp", net.JoinHostPort(host, "9"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err = c.Write([]byte("x")); err != nil { // what it hears of it is a soft error, which no read returns
			t.Error(err)
		}
		wait(t, "the datagram to come back", func() bool { return srv.Stats().Looped > looped })
		if now = srv.Stats().Looped; now != looped+1 {
			t.Errorf("datagram to %s: %d were counted", host, now-looped)
		}
		looped = now
	}
	if told := strings.Join(log.lines(), "\n"); strings.Count(told, "-fwmark") != 1 {
		t.Errorf("not told once:\n%s", told)
	}
}
