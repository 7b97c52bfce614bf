package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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

// netns is a network namespace, there as long as its file is open.
type netns struct{ f *os.File }

func newNetNS(t *testing.T) (n netns) {
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

func (n netns) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.f.Fd()) }

// do runs f on a thread in the namespace; what f starts or opens stays there.
func (n netns) do(t *testing.T, f func() error) {
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

func (n netns) ip(t *testing.T, lines ...string) {
	t.Helper()
	n.do(t, func() error {
		cmd := exec.CommandContext(t.Context(), "ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w\n%s", err, out)
		}
		return nil
	})
}

// output runs a command and returns what it says.
func (n netns) output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out []byte
	n.do(t, func() (err error) {
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

// start starts a program, which is killed at the end of the test if nobody has waited
// for it before, and with the thread that started it.
func (n netns) start(t *testing.T, cmd *exec.Cmd) {
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

func (n netns) listen(t *testing.T, address string) (ln net.Listener) {
	t.Helper()
	n.do(t, func() (err error) {
		ln, err = net.Listen("tcp", address)
		return err
	})
	t.Cleanup(func() { ln.Close() })
	return ln
}

func (n netns) listenPacket(t *testing.T, address string) (pc net.PacketConn) {
	t.Helper()
	n.do(t, func() (err error) {
		pc, err = net.ListenPacket("udp", address)
		return err
	})
	t.Cleanup(func() { pc.Close() })
	return pc
}

// sysctl sets a value of the namespace.
func (n netns) sysctl(t *testing.T, name, value string) {
	t.Helper()
	n.do(t, func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
}

// logLines is what a program writes to its standard error.
type logLines struct {
	mu   sync.Mutex
	all  strings.Builder
	news chan struct{} // cap 1
	end  chan struct{} // closed when there will be no more
}

// follow reads r to its end.
func follow(r io.Reader) *logLines {
	l := &logLines{news: make(chan struct{}, 1), end: make(chan struct{})}
	go func() { // ends with the program
		defer close(l.end)
		for s := bufio.NewScanner(r); s.Scan(); {
			l.mu.Lock()
			l.all.WriteString(s.Text() + "\n")
			l.mu.Unlock()
			select {
			case l.news <- struct{}{}:
			default:
			}
		}
	}()
	return l
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// await waits until some line holds all of these, and returns it.
func (l *logLines) await(t *testing.T, texts ...string) string {
	t.Helper()
	late := time.After(patience)
	for ended := false; ; {
	lines:
		for line := range strings.Lines(l.String()) {
			for _, text := range texts {
				if !strings.Contains(line, text) {
					continue lines
				}
			}
			return line
		}
		if ended {
			t.Fatalf("the log ends without %q:\n%s", texts, l)
		}
		select {
		case <-l.news:
		case <-l.end:
			ended = true
		case <-late:
			t.Fatalf("no %q in the log:\n%s", texts, l)
		}
	}
}

// needRoot skips where a test cannot make namespaces, or a program is missing.
func needRoot(t *testing.T, programs ...string) {
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
