package netnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds what must happen, with room for a slow machine.
const patience = 30 * time.Second

// NetNS is a network namespace, there as long as its file is open.
type NetNS struct{ f *os.File }

// New makes one, which goes with the test.
func New(t *testing.T) (n NetNS) {
	t.Helper()
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

// Path names the namespace to ip and others, as long as this process lives.
func (n NetNS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.f.Fd()) }

// Do runs f on a thread in the namespace; what f starts or opens stays there.
func (n NetNS) Do(t *testing.T, f func() error) {
	t.Helper()
	onThread(t, func() error {
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		return f()
	})
}

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

// IP runs lines of ip -batch.
func (n NetNS) IP(t *testing.T, lines ...string) {
	t.Helper()
	n.Do(t, func() error {
		cmd := exec.CommandContext(t.Context(), "ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w\n%s", err, out)
		}
		return nil
	})
}

// Output runs a command and returns what it says.
func (n NetNS) Output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out []byte
	n.Do(t, func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		defer cancel()
		out, err = exec.CommandContext(ctx, name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %q: %w\n%s", name, args, err, out)
		}
		return nil
	})
	return string(out)
}

// Start starts a program, which is killed at the end of the test if nobody has waited
// for it before, and with the thread that started it.
func (n NetNS) Start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started, over := make(chan error), make(chan struct{})
	var thread sync.WaitGroup
	thread.Go(func() { // ends with the test; awaited by its cleanup
		runtime.LockOSThread()
		err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		<-over
	})
	t.Cleanup(func() {
		if cmd.Process != nil && cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		close(over)
		thread.Wait()
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
}

// Listen listens on TCP in the namespace until the test ends.
func (n NetNS) Listen(t *testing.T, address string) (ln net.Listener) {
	t.Helper()
	n.Do(t, func() (err error) {
		ln, err = net.Listen("tcp", address)
		return err
	})
	t.Cleanup(func() { ln.Close() })
	return ln
}

// ListenPacket listens on UDP in the namespace until the test ends.
func (n NetNS) ListenPacket(t *testing.T, address string) (pc net.PacketConn) {
	t.Helper()
	n.Do(t, func() (err error) {
		pc, err = net.ListenPacket("udp", address)
		return err
	})
	t.Cleanup(func() { pc.Close() })
	return pc
}

// Sysctl sets a value of the namespace.
func (n NetNS) Sysctl(t *testing.T, name, value string) {
	t.Helper()
	n.Do(t, func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
}

// NeedRoot skips where a test cannot make namespaces, or a program is missing.
func NeedRoot(t *testing.T, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); errors.Is(err, exec.ErrNotFound) {
			t.Skip("needs " + p)
		}
	}
}
