package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// netns is a network namespace. It is there as long as its file is open or a
// process is in it.
type netns struct{ f *os.File }

func newNetNS() (*netns, error) {
	n := new(netns)
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		var err error
		n.f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return n, err
}

// path names the namespace to ip(8).
func (n *netns) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.f.Fd()) }

// do runs f on a thread that is in the namespace.
func (n *netns) do(f func() error) error {
	return onThread(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return f()
	})
}

func (n *netns) enter() error {
	return os.NewSyscallError("setns", unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET))
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() { // awaited below
		runtime.LockOSThread() // never unlocked: nobody else shall have the thread
		done <- f()
	}()
	return <-done
}

// ip runs the lines as commands of ip(8) in the namespace.
func (n *netns) ip(lines ...string) error {
	return n.do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), setupTime)
		defer cancel()
		cmd := exec.CommandContext(ctx, "ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w: %s", err, strings.TrimSpace(string(out)))
		}
		return nil
	})
}

// process is one that was started in a namespace.
type process struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed when it has been waited for; err is set then
	err    error
	output tail
	kill   sync.Once
}

// start starts cmd, which lives no longer than limit and no longer than this
// process: it dies with the thread that started it.
func (n *netns) start(cmd *exec.Cmd, limit time.Duration) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.output
	}
	cmd.Stderr = &p.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.WaitDelay = time.Second
	started := make(chan error)
	go func() { // ends with the process, which limit bounds
		runtime.LockOSThread() // never unlocked
		err := n.enter()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err != nil {
			return
		}
		late := time.AfterFunc(limit, p.end)
		p.err = cmd.Wait()
		late.Stop()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", cmd.Path, err)
	}
	return p, nil
}

// end kills the process with its group, unless it has ended.
func (p *process) end() {
	select {
	case <-p.ended:
	default:
		p.kill.Do(func() { _ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) })
	}
}

// stop ends the process and returns when it is gone.
func (p *process) stop() {
	p.end()
	<-p.ended
}

// alive says what became of a process that should be running.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return errors.Join(fmt.Errorf("it has ended: %w", p.err), errors.New(p.output.String()))
	default:
		return nil
	}
}

// tail keeps the end of what a process writes.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 2 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - tailSize; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
