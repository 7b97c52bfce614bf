package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStatus looks at terminals: of a program that runs and shows itself, and of one that looks
// at the first.
func TestStatus(t *testing.T) {
	w := newWorld(t)
	control := "unix://" + filepath.Join(t.TempDir(), "c")
	self := w.onTerminal(t, "-device", "t2s0", "-status", "-control", control)
	self.await(t, "t2s0")
	self.await(t, "msg=serving") // in the lines of the log
	other := w.onTerminal(t, "-status", "-control", control)
	other.await(t, "flows 0")
	other.await(t, "q quit")
	other.press(t, "q")
	if err := other.wait(); err != nil {
		t.Errorf("a look at another program: %v, %s", err, &other.stderr)
	}
	self.press(t, "q")
	if err := self.wait(); err != nil || !strings.Contains(self.stderr.String(), "msg=ended") {
		t.Errorf("%v, %s", err, &self.stderr)
	}
	gone := w.onTerminal(t, "-status", "-control", control)
	if err := gone.wait(); err == nil || strings.Count(gone.stderr.String(), "\n") != 1 {
		t.Errorf("a look at nobody: %v, %s", err, &gone.stderr)
	}
}

// screen is a program on a terminal.
type screen struct {
	*exec.Cmd
	master *os.File
	stderr bytes.Buffer

	mu   sync.Mutex
	text bytes.Buffer
}

// onTerminal starts the program here on a terminal of its own.
func (w *world) onTerminal(t *testing.T, args ...string) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 200}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{Cmd: &exec.Cmd{Path: self, Args: append([]string{programName}, args...)}, master: master}
	s.Env = append(os.Environ(), "TERM=xterm")
	s.Stdin, s.Stdout, s.Stderr = slave, slave, &s.stderr
	w.here.do(t, s.Start)
	if s.Process == nil {
		t.FailNow()
	}
	t.Cleanup(func() {
		if s.ProcessState == nil {
			_ = s.Process.Kill()
			_ = s.Wait()
		}
	})
	go func() { // until the terminal has no program any more, or is closed
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			s.mu.Lock()
			s.text.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s
}

// await waits until the terminal was sent text.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		all := s.text.String()
		s.mu.Unlock()
		switch {
		case strings.Contains(all, text):
			return
		case time.Now().After(end):
			t.Fatalf("no %q on the screen: %q", text, all)
		}
	}
}

func (s *screen) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

func (s *screen) wait() error {
	late := time.AfterFunc(patience, func() { _ = s.Process.Signal(syscall.SIGKILL) })
	defer late.Stop()
	return s.Wait()
}
