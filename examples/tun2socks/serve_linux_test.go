package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The program is in one network namespace, with the servers; its TUN is moved to
// another, where the clients are.
const (
	patience   = 30 * time.Second
	srv4, srv6 = "192.0.2.80", "2001:db8::80"
)

// TestForwardsAndDrains fetches through the program, and stops it in the middle of
// the last fetch, which comes to its end nevertheless.
func TestForwardsAndDrains(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprintf("workers=%d", workers), func(t *testing.T) { forwardsAndDrains(t, workers) })
	}
}

func forwardsAndDrains(t *testing.T, workers int) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl")
	}
	here, there := newNetNS(t), newNetNS(t)
	here.ip(t, "link set lo up", "addr add "+srv4+"/32 dev lo", "addr add "+srv6+"/128 dev lo nodad")
	body := bytes.Repeat([]byte("0123456789abcde\n"), 4<<20/16)
	want := fmt.Sprintf("%x", sha256.Sum256(body))
	half, release := make(chan struct{}), make(chan struct{})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(body[:len(body)/2])
		if r.URL.Path == "/slow" {
			w.(http.Flusher).Flush()
			close(half)
			<-release
		}
		w.Write(body[len(body)/2:])
	})}
	for _, host := range []string{srv4, srv6} {
		var ln net.Listener
		here.do(t, func() (err error) {
			ln, err = net.Listen("tcp", net.JoinHostPort(host, "80"))
			return err
		})
		go web.Serve(ln) // until the server is closed
	}
	t.Cleanup(func() { web.Close() })

	program, log := here.program(t, "-device", "tun://t2s0", "-mtu", "1500", "-proxy", "direct://", "-loglevel", "info", "-workers", fmt.Sprint(workers))
	for range workers {
		log.await(t, "serving")
	}
	here.ip(t, "link set t2s0 netns "+there.path())
	there.ip(t, "link set lo up", "addr add 198.18.0.1/30 dev t2s0", "addr add fd00::1/64 dev t2s0 nodad",
		"link set t2s0 up", "route add default dev t2s0", "route add ::/0 dev t2s0")

	for range 4 { // so that every worker, most likely, has one
		if got := there.fetch(t, "http://"+srv4+"/"); got != want {
			t.Errorf("SHA-256 %s, want %s", got, want)
		}
	}
	for _, host := range []string{srv4, "[" + srv6 + "]"} {
		if got := there.fetch(t, "http://"+host+"/"); got != want {
			t.Errorf("%s: SHA-256 %s, want %s", host, got, want)
		}
	}
	slow := make(chan string, 1)
	go func() { slow <- there.fetch(t, "http://"+srv4+"/slow") }() // awaited below
	<-half
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	log.await(t, "draining")
	close(release)
	if got := <-slow; got != want {
		t.Errorf("while draining: SHA-256 %s, want %s", got, want)
	}
	log.drain()
	if err := program.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit code 0", err)
	}
}

// TestWorkersEndTogether kills one of three workers: the others end, and the program
// fails.
func TestWorkersEndTogether(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	program, log := newNetNS(t).program(t, "-device", "tun://t2s0", "-workers", "3")
	for range 3 {
		log.await(t, "serving")
	}
	workers := children(t, program.Process.Pid)
	if len(workers) != 3 {
		t.Fatalf("the workers are %v", workers)
	}
	if err := syscall.Kill(workers[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	log.drain() // to its end, which is when all have closed it
	var exit *exec.ExitError
	if err := program.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("a worker was killed: %v, want exit code %d", err, exitFailed)
	}
}

// children lists the processes that pid has started.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, _ := os.ReadFile(name) // a thread that has just ended has none
		for field := range strings.FieldsSeq(string(b)) {
			n, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, n)
		}
	}
	return pids
}

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
		t.Error(err)
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

// fetch returns the SHA-256 of what curl gets.
func (n netns) fetch(t *testing.T, url string) string {
	t.Helper()
	sum := sha256.New()
	n.do(t, func() error {
		cmd := exec.CommandContext(t.Context(), "curl", "-sS", "--max-time", fmt.Sprint(patience.Seconds()), url)
		cmd.Stdout, cmd.Stderr = sum, os.Stderr
		return cmd.Run()
	})
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// program starts this test binary as the program. It is killed with the test, if
// nobody has waited for it, and dies with this process.
func (n netns) program(t *testing.T, args ...string) (*exec.Cmd, *logLines) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: self, Args: append([]string{programName}, args...)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	started, over := make(chan error), make(chan struct{})
	go func() { // ended by the cleanup: the death signal follows this thread
		runtime.LockOSThread()
		err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		<-over
	}()
	t.Cleanup(func() { close(over) })
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	late := time.AfterFunc(2*patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { late.Stop() })
	return cmd, &logLines{bufio.NewReader(stderr)}
}

// logLines is what a program writes to its standard error.
type logLines struct{ r *bufio.Reader }

// await reads on until a line holds text.
func (l *logLines) await(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := l.r.ReadString('\n')
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("the log ends without %q: %q, %v", text, line, err)
		}
	}
}

func (l *logLines) drain() { _, _ = io.Copy(io.Discard, l.r) }
