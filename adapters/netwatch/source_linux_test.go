package netwatch

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestKernel follows the routes of a namespace.
func TestKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	done := make(chan struct{})
	go func() { // awaited below
		defer close(done)
		runtime.LockOSThread() // never unlocked: nobody else shall have the thread
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		followKernel(t)
	}()
	<-done
}

// followKernel runs in a namespace of its own.
func followKernel(t *testing.T) {
	ip := func(commands ...string) {
		t.Helper()
		for _, c := range commands {
			if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(c)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v: %s", c, err, out)
			}
		}
	}
	for i, name := range []string{"one", "two", "tun"} {
		n := string(rune('1' + i))
		ip("link add "+name+" type veth peer name "+name+"-far", "link set "+name+"-far up", "addr add 192.0.2."+n+"/32 dev "+name, "addr add 2001:db8::"+n+"/128 dev "+name+" nodad", "link set "+name+" up")
	}
	changed := make(chan Defaults, 100)
	m, err := New(&Config{Skip: []string{"tun"}, Settle: time.Millisecond, Changed: func(_, now Defaults) { changed <- now }})
	if err != nil {
		t.Error(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- m.Run(t.Context()) }()
	defer func() {
		if err := errors.Join(m.Close(), <-ended); err != nil {
			t.Error(err)
		}
	}()
	var want [2]string
	await := func(v4, v6 string) {
		t.Helper()
		want = [2]string{v4, v6}
		for end := time.After(10 * time.Second); ; {
			if d := m.Defaults(); d.V4.Name == v4 && d.V6.Name == v6 && (d.V4.Index != 0) == (v4 != "") {
				return
			}
			select {
			case <-changed:
			case <-end:
				t.Fatalf("defaults are %v, want %v", m.Defaults(), want)
			}
		}
	}
	await("", "")
	ip("route add default dev one metric 10")
	await("one", "")
	one := m.Defaults().V4.Index
	ip("-6 route add default dev two")
	await("one", "two")
	ip("route add default dev tun metric 1", "route add default dev two metric 5")
	await("two", "two")
	if m.Lost(netip.IPv4Unspecified(), one) || m.Lost(netip.MustParseAddr("192.0.2.1"), 0) {
		t.Error("an interface that still has a default route is lost")
	}
	ip("link set two down")
	await("one", "")
	if a := netip.MustParseAddr("192.0.2.2"); !m.Lost(a, 0) {
		t.Error("an address of an interface that is down is not lost")
	}
	ip("route add default metric 20 nexthop dev one weight 1", "route del default dev one metric 10")
	await("one", "")
	ip("link del one")
	await("", "")
	if !m.Lost(netip.IPv4Unspecified(), one) || !m.Lost(netip.MustParseAddr("192.0.2.1"), 0) {
		t.Error("an interface that is gone is not lost")
	}
}

// TestInterruptedDump: what a dump lacks that was interrupted is not taken for lost.
func TestInterruptedDump(t *testing.T) {
	for _, times := range []int{0, 3, 1000} {
		n := 0
		all, err := again(func() (string, error) {
			if n++; n <= times {
				return "some", netlink.ErrDumpInterrupted
			}
			return "all", nil
		})
		if (err == nil) != (all == "all") || (err == nil) != (times < 1000) {
			t.Errorf("after %d: %s, %v", times, all, err)
		}
	}
}
