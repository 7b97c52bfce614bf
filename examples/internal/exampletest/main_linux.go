package exampletest

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
	"l3extract/l3conn/tun"
)

// inside marks the process that runs the tests in a namespace of its own.
const inside = "L3EXTRACT_EXAMPLE_TEST_INSIDE"

// noTUN says why the tests that need a TUN cannot run; "" if they can.
var noTUN string

// Main is TestMain of an example. The tests run in a process of their own, in a
// network namespace of its own: whatever happens to it, the kernel takes every
// interface back. Goroutines that are left behind are a failure.
func Main(m *testing.M) {
	if os.Getenv(inside) == "" {
		code, err := isolated()
		if err == nil {
			os.Exit(code)
		}
		noTUN = fmt.Sprintf("no network namespace for the tests: %v", err)
	} else if device, err := tun.Open(nil); err != nil {
		noTUN = err.Error()
	} else {
		device.Close()
	}
	leak.Main(m)
}

// isolated runs this test binary in a new network namespace, without root in a
// new user namespace too. It returns the exit code, or an error if that is not
// allowed here.
func isolated() (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
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
