package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// netns is a network namespace of the test's own.
type netns struct{ f *os.File }

func newNetNS(t *testing.T) netns {
	t.Helper()
	var n netns
	onThread(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		n.f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	t.Cleanup(func() { n.f.Close() })
	return n
}

// path names the namespace for ip(8), as long as this process lives.
func (n netns) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.f.Fd()) }

// do runs f on a thread that is in the namespace. What f starts or opens stays
// there.
func (n netns) do(t *testing.T, f func() error) {
	t.Helper()
	onThread(t, func() error {
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it.
func onThread(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() { // awaited below
		runtime.LockOSThread() // never unlocked: nobody else shall have the thread
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// spawn starts cmd in the namespace as the leader of a process group. The command
// dies with the thread that started it, which is there until done is called: so a
// test binary that dies leaves nothing behind.
func (n netns) spawn(t *testing.T, cmd *exec.Cmd) (done func()) {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = !cmd.SysProcAttr.Setsid // a session has a group of its own
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	started, over := make(chan error), make(chan struct{})
	go func() { // ended by done
		runtime.LockOSThread() // never unlocked: nobody else shall have the thread
		err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		<-over
	}()
	if err := <-started; err != nil {
		close(over)
		t.Fatal(err)
	}
	return func() { close(over) }
}

// start spawns cmd, and kills its process group when the test ends, unless the test
// itself has waited for cmd.
func (n netns) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	done := n.spawn(t, cmd)
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			_ = cmd.Wait()
		}
		done()
	})
}

// serve is start for servers: they have a process for each connection, some in a
// session of its own. A PID namespace ends with its first process, and that ends
// only when all others have: none is left behind, whatever it does.
func (n netns) serve(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWPID
	n.start(t, cmd)
}

// ip runs ip(8) in the namespace, once for each line of script.
func (n netns) ip(t *testing.T, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		n.do(t, func() error {
			if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %s: %w\n%s", strings.Join(args, " "), err, out)
			}
			return nil
		})
	}
}

func (n netns) listen(t *testing.T, address string) net.Listener {
	t.Helper()
	var ln net.Listener
	n.do(t, func() (err error) {
		ln, err = net.Listen("tcp", address)
		return err
	})
	t.Cleanup(func() { ln.Close() })
	return ln
}

func (n netns) listenPacket(t *testing.T, address string) net.PacketConn {
	t.Helper()
	var pc net.PacketConn
	n.do(t, func() (err error) {
		pc, err = new(net.ListenConfig).ListenPacket(context.Background(), "udp", address)
		return err
	})
	t.Cleanup(func() { pc.Close() })
	return pc
}

// The world of the tests: l3run is run in outside, which has a link to servers.
type world struct{ outside, servers netns }

const (
	out4, srv4 = "10.77.0.1", "10.77.0.2"
	out6, srv6 = "fd77::1", "fd77::2"
	// There is a route to these, and nobody answers.
	hole4, hole6 = "10.78.0.1", "fd78::1"
	// The host says that there is no way to these.
	away4, away6 = "10.79.0.1", "fd79::1"
	// And it knows nothing of these.
	unknown4, unknown6 = "10.80.0.1", "fd80::1"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	needRoot(t)
	w := &world{newNetNS(t), newNetNS(t)}
	w.outside.ip(t, "link add veth0 type veth peer name veth0 netns "+w.servers.path())
	for _, end := range []struct {
		n      netns
		a4, a6 string
	}{{w.outside, out4, out6}, {w.servers, srv4, srv6}} {
		end.n.ip(t, `link set lo up
			addr add `+end.a4+`/24 dev veth0
			addr add `+end.a6+`/64 dev veth0 nodad
			link set veth0 up`)
	}
	w.servers.ip(t, `route add blackhole 10.78.0.0/24
		route add blackhole fd78::/64`)
	w.outside.ip(t, `route add 10.78.0.0/24 via `+srv4+`
		route add fd78::/64 via `+srv6+`
		route add unreachable 10.79.0.0/24
		route add unreachable fd79::/64`)
	return w
}

// needRoot skips what makes namespaces for itself. In CI the tests run as root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 || !privileged() {
		t.Skip("needs root, to make a network around l3run")
	}
}

// need skips where a program is missing; .ci/run installs them and allows no
// skips.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip("needs ", p)
		}
	}
}
