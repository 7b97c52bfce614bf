package autoroute

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/l3conn/tun"
)

// patience bounds what must happen, with room for a slow machine.
const patience = 30 * time.Second

// netns is a network namespace of the test's own, with a thread in it.
type netns struct {
	t    testing.TB
	fd   int
	jobs chan func()
}

func newNetns(t testing.TB) *netns {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	n := &netns{t: t, fd: -1, jobs: make(chan func())}
	made, ended := make(chan error), make(chan struct{})
	go func() { // ends with jobs, and its thread with it: it is not fit for others
		defer close(ended)
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- err
		for job := range n.jobs {
			job()
		}
	}()
	err := <-made
	t.Cleanup(func() {
		close(n.jobs)
		<-ended
		_ = unix.Close(n.fd)
	})
	if err != nil {
		t.Fatal(err)
	}
	n.ip("link set lo up")
	return n
}

// do runs f in the namespace and waits for it.
func (n *netns) do(f func()) {
	done := make(chan struct{})
	n.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

func (n *netns) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd) }

// run returns what a command in the namespace prints.
func (n *netns) run(command string) (out string, err error) {
	n.do(func() {
		var b []byte
		args := strings.Fields(command)
		b, err = exec.CommandContext(n.t.Context(), args[0], args[1:]...).CombinedOutput()
		out = string(b)
	})
	return out, err
}

// ip runs ip commands in the namespace.
func (n *netns) ip(commands ...string) {
	n.t.Helper()
	for _, c := range commands {
		if out, err := n.run("ip " + c); err != nil {
			n.t.Fatalf("ip %s: %v: %s", c, err, out)
		}
	}
}

// sysctl sets a value of the namespace.
func (n *netns) sysctl(path, value string) {
	n.t.Helper()
	n.do(func() {
		if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0); err != nil {
			n.t.Error(err)
		}
	})
}

// The hosts of a test: one with a LAN, a gateway to everywhere, and a TUN.
const (
	tunName = "l3auto"
	gw4     = "192.0.2.1"
	gw6     = "2001:db8:1::1"
)

// newHost returns a host and its gateway, joined by a cable.
func newHost(t testing.TB) (host, gateway *netns) {
	t.Helper()
	host, gateway = newNetns(t), newNetns(t)
	host.noDAD()
	host.ip("link add lan0 type veth peer name lan0 netns " + gateway.path())
	gateway.ip("addr add 192.0.2.1/24 dev lan0", "addr add 2001:db8:1::1/64 dev lan0 nodad", "link set lan0 up",
		"addr add 198.51.100.1/32 dev lo", "addr add 2001:db8:2::1/128 dev lo nodad")
	host.ip("addr add 192.0.2.2/24 dev lan0", "addr add 2001:db8:1::2/64 dev lan0 nodad", "link set lan0 up",
		"route add default via "+gw4, "route add default via "+gw6)
	host.awaitIPv6()
	return host, gateway
}

// noDAD has link-local addresses be there at once, and not in the middle of a test.
func (n *netns) noDAD() {
	n.t.Helper()
	n.sysctl("net/ipv6/conf/default/accept_dad", "0")
}

// awaitIPv6 waits for the host's IPv6 addresses, for which the kernel takes its time.
func (n *netns) awaitIPv6() {
	n.t.Helper()
	for end := time.Now().Add(patience); ; {
		local, _ := n.run("ip -6 route show table local dev lan0")
		if n.way("2001:db8:1::2") == "lo" && strings.Contains(local, "local fe80:") && strings.Contains(local, "ff00::/8") {
			return
		}
		if time.Now().After(end) {
			n.t.Fatalf("the host's IPv6 addresses do not become usable:\n%s", local)
		}
	}
}

// open opens a TUN in the namespace.
func (n *netns) open(name string) *tun.Device {
	n.t.Helper()
	dev, err := tun.Open(&tun.Config{Name: name, NetNS: n.path(), LeaveDown: true})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = dev.Close() })
	return dev
}

// setup runs Setup in the namespace.
func (n *netns) setup(cfg Config) (r *Routes, err error) {
	n.t.Helper()
	if cfg.Device == "" {
		cfg.Device = tunName
	}
	n.do(func() { r, err = Setup(&cfg) })
	if err == nil {
		n.t.Cleanup(func() { n.do(func() { _ = r.Close() }) })
	}
	return r, err
}

// mustSetup is setup that has to work.
func (n *netns) mustSetup(cfg Config) *Routes {
	n.t.Helper()
	r, err := n.setup(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

// way says by which interface the host sends, "" if it refuses.
func (n *netns) way(query string) string {
	n.t.Helper()
	out, err := n.run("ip route get " + query)
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(out, " dev ")
	name, _, _ := strings.Cut(rest, " ")
	return name
}

// onLink reports that the kernel takes the destination for one on the link.
func (n *netns) onLink(query string) bool {
	out, err := n.run("ip route get " + query)
	return err == nil && !strings.Contains(out, " via ")
}

// snapshot is all that Setup may change: rules, routes, and addresses.
func (n *netns) snapshot() string {
	n.t.Helper()
	var all strings.Builder
	for _, c := range []string{"ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all", "ip -br addr"} {
		out, err := n.run(c)
		if err != nil {
			n.t.Fatal(err, out)
		}
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, tunName) && !strings.Contains(line, "dev "+tunName) {
				all.WriteString(line)
			}
		}
	}
	return all.String()
}

// newHere is the namespace of the process, which is the test's own.
func newHere(t testing.TB) *netns {
	t.Helper()
	n := &netns{t: t, jobs: make(chan func())}
	go func() { // ends with jobs
		for job := range n.jobs {
			job()
		}
	}()
	t.Cleanup(func() { close(n.jobs) })
	n.ip("link set lo up")
	return n
}
