package tun

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l3extract/internal/leak"
)

// The tests run in a process of their own, in a network namespace of its own:
// whatever happens to it, the kernel takes every interface and route back.
const inside = "L3CONN_TUN_TEST_INSIDE"

// noTUN says why the tests that need a TUN cannot run; "" if they can.
var noTUN string

func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		code, err := again()
		if err == nil {
			os.Exit(code)
		}
		noTUN = fmt.Sprintf("no network namespace for the tests: %v", err)
	} else if fd := os.Getenv(handover); fd != "" {
		os.Exit(handOver(fd))
	} else if dev, err := Open(nil); err != nil {
		noTUN = err.Error()
	} else {
		dev.Close()
	}
	leak.Main(m)
}

// again runs this test binary in fresh namespaces and returns its exit code, or
// an error if that is not allowed here.
func again(env ...string) (int, error) {
	cmd, err := isolated(env...)
	if err != nil {
		return 0, err
	}
	cmd.Args = append(cmd.Args, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	runtime.LockOSThread() // Pdeathsig follows the thread
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}

// isolated is this binary in a new network namespace; without root in a new
// user namespace too.
func isolated(env ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), inside+"=1"), env...)
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	return cmd, nil
}

func needTUN(t testing.TB) {
	t.Helper()
	if noTUN != "" {
		t.Skip(noTUN)
	}
}

// mustOpen opens a Device and closes it with the test.
func mustOpen(t testing.TB, c Config) *Device {
	t.Helper()
	needTUN(t)
	dev, err := Open(&c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// sysctl sets a value of this namespace.
func sysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}
