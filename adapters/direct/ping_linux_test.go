package direct

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace names the variable that makes TestListenPing its own child in a network
// namespace where the ping sockets are as it says.
const inNamespace = "DIRECT_TEST_PING_GROUPS"

// TestListenPing: a ping socket where the system gives one, else a raw one, else an
// error that says what is missing; always with the mark of the Dialer.
func TestListenPing(t *testing.T) {
	if groups := os.Getenv(inNamespace); groups != "" {
		listenPings(t, groups)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	for _, tc := range []struct {
		groups string
		caps   bool
	}{{"0 2147483647", true}, {"0 2147483647", false}, {"1 0", true}, {"1 0", false}} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestListenPing$", "-test.v")
		cmd.Env = append(os.Environ(), inNamespace+"="+tc.groups)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		if !tc.caps {
			cmd.Env = append(cmd.Env, inNamespace+"_DROP=1")
		}
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "SKIP") {
			t.Errorf("groups %q, privileges %v: %v\n%s", tc.groups, tc.caps, err, out)
		}
	}
}

// listenPings runs in a namespace of its own.
func listenPings(t *testing.T, groups string) {
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(groups), 0); err != nil {
		t.Fatal(err)
	}
	drop := os.Getenv(inNamespace+"_DROP") != ""
	d := &Dialer{Mark: 0x1ee7}
	if drop {
		d.Mark = 0
		if err := syscall.Setuid(12345); err != nil { // of all threads, and with it all capabilities
			t.Fatal(err)
		}
	}
	for _, network := range []string{"ip4:icmp", "ip6:ipv6-icmp"} {
		pc, err := d.ListenPing(context.Background(), network)
		var op *net.OpError
		switch {
		case groups == "1 0" && drop:
			if !errors.Is(err, syscall.EACCES) || !errors.As(err, &op) || !strings.Contains(err.Error(), "ping_group_range") {
				t.Errorf("%s: %v, want what is missing", network, err)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", network, err)
			continue
		}
		kind := unix.SOCK_DGRAM
		if groups == "1 0" {
			kind = unix.SOCK_RAW
		}
		if got := option(t, pc.(syscall.Conn), unix.SO_TYPE); got != kind {
			t.Errorf("%s: a socket of type %d, want %d", network, got, kind)
		}
		if got := option(t, pc.(syscall.Conn), unix.SO_MARK); got != int(d.Mark) {
			t.Errorf("%s: mark %#x", network, got)
		}
		_ = pc.Close()
	}
	no := errors.New("no")
	d.Control = func(context.Context, string, string, syscall.RawConn) error { return no }
	if groups != "1 0" || !drop {
		if _, err := d.ListenPing(context.Background(), "ip4:icmp"); !errors.Is(err, no) {
			t.Errorf("Control refuses: %v", err)
		}
	}
	if _, err := d.ListenPing(context.Background(), "udp4"); err == nil {
		t.Error("pings over udp4")
	}
}
