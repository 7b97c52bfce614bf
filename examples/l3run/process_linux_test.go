package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExitCode(t *testing.T) {
	w := newWorld(t)
	notExecutable := filepath.Join(work, "not-executable")
	if err := writeFile(notExecutable, "true\n"); err != nil {
		t.Fatal(err)
	}
	noShebang := filepath.Join(work, "no-shebang")
	if err := os.WriteFile(noShebang, []byte("exit 9\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	as(t, func(t *testing.T, c *caller) {
		for _, tc := range []struct {
			args []string
			want int
			says string
		}{
			{[]string{"--", "true"}, 0, ""},
			{[]string{"--", "sh", "-c", "exit 7"}, 7, ""},
			{[]string{"sh", "-c", "exit 7"}, 7, ""},
			{[]string{"--", "sh", "-c", "kill -TERM $$"}, 143, ""},
			{[]string{"--", "sh", "-c", "kill -KILL $$"}, 137, ""},
			{[]string{"--", noShebang}, 9, ""},
			{[]string{"--", "no-such-command"}, exitNotFound, "not found"},
			{[]string{"--", "/no/such/command"}, exitNotFound, "no such file"},
			{[]string{"--", notExecutable}, exitCannotRun, "permission denied"},
			{[]string{"-mtu", "5", "--", "true"}, exitUsage, "-mtu"},
			{[]string{"-nonsense"}, exitUsage, "nonsense"},
			{[]string{"-help"}, 0, "docker.sock"},
			{[]string{"-help"}, 0, "What a network namespace cannot hold back"},
		} {
			r := w.outside.run(t, c.l3run(t, tc.args...))
			if r.code != tc.want || !strings.Contains(r.out+r.errout, tc.says) || (tc.says == "" || tc.want == 0) && r.errout != "" {
				t.Errorf("%q: exit %d, want %d and %q\n%s", tc.args, r.code, tc.want, tc.says, r.errout)
			}
		}
	})
}

// What the command sees of the caller: its files, standard streams, environment
// and user; and nothing else.
func TestCommandsSurroundings(t *testing.T) {
	w := newWorld(t)
	as(t, func(t *testing.T, c *caller) {
		extra, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer extra.Close()
		for _, tc := range []struct{ command, want string }{
			{"cat", "from stdin"},
			{"id -u; id -g", fmt.Sprintf("%d\n%[1]d\n", c.UID)},
			{"pwd; echo $HOME", c.Home + "\n" + c.Home + "\n"},
			{"echo made >file; stat -c %u file; rm file", fmt.Sprintln(c.UID)},
			{"ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 "}, // 3 is the directory that ls reads
			{"cat /sys/class/net/lo/flags >/dev/null; cat /proc/net/dev | grep -c :", "2\n"},
			{"grep ^nameserver /etc/resolv.conf; grep ^search /etc/resolv.conf", "nameserver 198.18.37.2\nsearch test\n"},
			{"grep ^hosts: /etc/nsswitch.conf", "hosts: files dns\n"},
		} {
			cmd := c.l3run(t, "--", "sh", "-c", tc.command)
			cmd.Stdin = strings.NewReader("from stdin")
			cmd.ExtraFiles = []*os.File{extra, extra, extra}
			r := w.outside.run(t, cmd)
			if r.out != tc.want || r.errout != "" {
				t.Errorf("%s: got %q, want %q\n%s", tc.command, r.out, tc.want, r.errout)
			}
		}
		if c.UID != 0 {
			r := w.outside.run(t, c.l3run(t, "--", "grep", "-Ec",
				"^Cap(Inh|Prm|Eff|Amb):.0*$|^CapBnd:.0*2000$", "/proc/self/status")) // bounding: NET_RAW, for ping
			if r.out != "5\n" {
				t.Errorf("%s of 5 capability sets are as they should be", strings.TrimSpace(r.out))
			}
		}
	})
}

const signalledName = "l3run-test-signalled"

func init() { roles[signalledName] = signalled }

// signalled says which signals it gets, and ends by SIGTERM's default.
func signalled([]string) int {
	c := make(chan os.Signal, signalQueue)
	signal.Notify(c, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGQUIT, unix.SIGWINCH)
	fmt.Println("ready")
	for s := range c {
		fmt.Println(s)
	}
	return 0
}

// signalledCommand is l3run with signalled as its command.
func signalledCommand(t *testing.T, c *caller) *exec.Cmd {
	t.Helper()
	self, err := copied()
	if err != nil {
		t.Fatal(err)
	}
	return c.l3run(t, "--", "bash", "-c", `exec -a "$0" "$1"`, signalledName, self)
}

func TestSignals(t *testing.T) {
	need(t, "bash")
	w := newWorld(t)
	as(t, func(t *testing.T, c *caller) {
		cmd := signalledCommand(t, c)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr.Setsid = true // no controlling terminal
		cmd.Stderr = os.Stderr
		w.outside.start(t, cmd)
		said := bufio.NewScanner(out)
		expect(t, said, "ready")
		for _, s := range []unix.Signal{unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGQUIT, unix.SIGWINCH} {
			if err := cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			expect(t, said, s.String())
		}
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitSignal+int(unix.SIGTERM) {
			t.Errorf("exit %d after SIGTERM, want 143", code)
		}
	})
}

// Ctrl-C reaches the command once, though both processes are in the foreground.
func TestTerminal(t *testing.T) {
	need(t, "bash")
	w := newWorld(t)
	as(t, func(t *testing.T, c *caller) {
		master, slave := openTerminal(t)
		cmd := signalledCommand(t, c)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
		w.outside.start(t, cmd)
		slave.Close()
		said := bufio.NewScanner(master)
		expect(t, said, "ready")
		// What l3run forwards it forwards in order, so a second interrupt would
		// come before what is sent after.
		for _, tc := range []struct {
			do   func() error
			want string
		}{
			{func() error { _, err := master.WriteString("\x03"); return err }, "^Cinterrupt"},
			{func() error { return cmd.Process.Signal(unix.SIGUSR1) }, "user defined signal 1"},
			{func() error { _, err := master.WriteString("\x1c"); return err }, "^\\quit"},
			{func() error { return cmd.Process.Signal(unix.SIGHUP) }, "hangup"},
		} {
			if err := tc.do(); err != nil {
				t.Fatal(err)
			}
			expect(t, said, tc.want)
		}
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitSignal+int(unix.SIGTERM) {
			t.Errorf("exit %d after SIGTERM, want 143", code)
		}
	})
}

// When l3run is killed, the command does not stay behind without a network.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	as(t, func(t *testing.T, c *caller) {
		cmd := c.l3run(t, "--", "sh", "-c", "echo ready; read never")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		r, never, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer never.Close()
		cmd.Stdin = r
		w.outside.start(t, cmd)
		r.Close()
		said := bufio.NewScanner(out)
		expect(t, said, "ready")
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if said.Scan() { // the pipe ends when the command has
			t.Errorf("the command said %q", said.Text())
		}
	})
}

func expect(t *testing.T, said *bufio.Scanner, want string) {
	t.Helper()
	if !said.Scan() || strings.TrimSpace(said.Text()) != want {
		t.Fatalf("the command said %q, want %q (%v)", said.Text(), want, said.Err())
	}
}

// openTerminal returns both ends of a new terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs terminals: ", err)
	}
	t.Cleanup(func() { master.Close() })
	var n int
	raw, err := master.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
				n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
