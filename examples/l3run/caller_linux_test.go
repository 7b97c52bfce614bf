package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// caller is who runs l3run, and on what kind of host.
type caller struct {
	UID     int
	TUNMode fs.FileMode       // of /dev/net/tun, in a mount namespace of the caller's own
	Files   map[string]string // contents put over files of the host
	Dirs    map[string]string // directories put at paths of the host, from elsewhere
	Home    string            // owned by UID
	Clean   bool              // /run is empty but for Dirs
}

const callerName = "l3run-test-caller"

// stranger is an unprivileged user that the host has never heard of; passwd
// makes it known to the programs that insist.
const stranger = 12345

func init() { roles[callerName] = becomeCaller }

// becomeCaller makes the caller's host and user, and runs args[1:]. The death signal
// belongs to the thread, and does not outlive a change of user.
func becomeCaller(args []string) int {
	runtime.LockOSThread()
	var c caller
	err := json.Unmarshal([]byte(args[0]), &c)
	if err == nil {
		err = c.become()
	}
	if err == nil {
		err = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	}
	if err == nil {
		err = syscall.Exec(args[1], args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, callerName+":", err)
	return exitSetup
}

func (c *caller) become() error {
	if err := mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := c.device(); err != nil {
		return err
	}
	if c.Clean {
		if err := mount("test", "/run", "tmpfs", 0, "mode=0755"); err != nil {
			return err
		}
	}
	for target, source := range c.Dirs {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	for target, content := range c.Files {
		source := filepath.Join(c.Home, "over-"+filepath.Base(target))
		if err := writeFile(source, content); err != nil {
			return err
		}
		if err := mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return errors.Join(syscall.Setgroups(nil), syscall.Setgid(c.UID), syscall.Setuid(c.UID))
}

// device puts a /dev/net/tun of the wanted mode over the host's.
func (c *caller) device() error {
	if err := os.MkdirAll("/dev/net", 0o755); err != nil {
		return err
	}
	if err := mount("test", "/dev/net", "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	const major, minor = 10, 200
	if err := unix.Mknod("/dev/net/tun", unix.S_IFCHR, int(unix.Mkdev(major, minor))); err != nil {
		return err
	}
	return os.Chmod("/dev/net/tun", c.TUNMode)
}

// newCaller returns a caller with a home, whose host asks the test's DNS server.
func newCaller(t *testing.T, uid int) *caller {
	t.Helper()
	needRoot(t)
	home, err := os.MkdirTemp(work, "home-")
	if err == nil {
		err = os.Chown(home, uid, uid)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{UID: uid, TUNMode: 0o666, Home: home, Files: map[string]string{
		"/etc/resolv.conf": "search test\nnameserver " + srv4 + "\n",
	}}
	if uid != 0 {
		users, err := os.ReadFile("/etc/passwd")
		if err != nil {
			t.Fatal(err)
		}
		c.Files["/etc/passwd"] = strings.TrimSpace(string(users)) +
			fmt.Sprintf("\nl3run-test:x:%d:%[1]d::%s:/bin/sh\n", uid, home)
	}
	return c
}

// command returns name with args as the caller would run it.
func (c *caller) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return &exec.Cmd{
		Path: self,
		Args: append([]string{callerName, string(spec), path}, args...),
		Dir:  c.Home,
		Env:  append(os.Environ(), "HOME="+c.Home, "LC_ALL=C", "GORACE=atexit_sleep_ms=1"),
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS,
		},
	}
}

// l3run returns the built program with args, as the caller would run it.
func (c *caller) l3run(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return c.command(t, program(t), args...)
}

// result is how a command ended.
type result struct {
	code        int
	out, errout string
}

// run runs cmd in the namespace.
func (n netns) run(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errout bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	cmd.Stderr = &errout
	done := n.spawn(t, cmd)
	err := cmd.Wait()
	done()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errout.String()}
}

// as runs f as root and as an unprivileged user.
func as(t *testing.T, f func(t *testing.T, c *caller)) {
	t.Helper()
	for name, uid := range map[string]int{"root": 0, "user": stranger} {
		t.Run(name, func(t *testing.T) {
			c := newCaller(t, uid)
			if uid != 0 {
				needUserNS(t, c)
			}
			f(t, c)
		})
	}
}

// needUserNS skips where the system lets nobody but root make namespaces.
func needUserNS(t *testing.T, c *caller) {
	t.Helper()
	cmd := c.command(t, "unshare", "--user", "--mount", "--net", "true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("this system lets no unprivileged user make namespaces: %v\n%s", err, out)
	}
}
