package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// selfPath starts this program again, wherever it lies and whatever may have
// been put in its place since.
const selfPath = "/proc/self/exe"

// pairFD is the inner end of the pair: the first of exec.Cmd's ExtraFiles.
const pairFD = 3

// inside is the inner process's main. It returns only if it cannot become the
// command. It never leaves its thread: capabilities and the death signal belong to
// threads, and exec keeps those of the one that calls it.
func inside(command []string) int {
	runtime.LockOSThread()
	c, err := openChannel(os.NewFile(pairFD, "l3run inner"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "l3run:", err)
		return exitSetup
	}
	var o orders
	if _, err := c.receive(&o); err != nil {
		return exitSetup // the outer process has gone, and said why
	}
	attached, r := prepare(&o)
	if err := c.send(r, attached...); err != nil || r.Error != "" {
		return exitSetup
	}
	for _, f := range attached {
		f.Close()
	}
	var w word
	if _, err := c.receive(&w); err != nil || !w.Go {
		return exitSetup
	}
	return become(command, &o)
}

// prepare does everything that needs privileges, then gives them up.
func prepare(o *orders) ([]*os.File, *report) {
	r := new(report)
	netns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, r.fail(stageLink, err)
	}
	device, err := openDevice(o)
	if err != nil {
		return nil, r.fail(stageTUN, err)
	}
	defer device.Close() // it has one owner, outside, so that it goes away with it
	file, err := fileOf(device)
	if err != nil {
		return nil, r.fail(stageTUN, err)
	}
	m, err := openMounts()
	if err != nil {
		return nil, r.fail(stageMounts, err)
	}
	for _, path := range hidden {
		if err := m.hide(path); err != nil {
			return nil, r.fail(stageHide, err)
		}
	}
	if err := m.put(map[string]string{
		"/etc/resolv.conf":   o.ResolvConf,
		"/etc/nsswitch.conf": ownNSSwitch(),
	}); err != nil {
		return nil, r.fail(stageFiles, err)
	}
	if err := m.Close(); err != nil {
		return nil, r.fail(stageFiles, err)
	}
	if !o.Privileged {
		if err := dropCaps(); err != nil {
			return nil, r.fail(stageDrop, err)
		}
	}
	attached := []*os.File{fileTUN: file, fileNetNS: netns}
	if f := openSockets(); f != nil {
		attached = append(attached, f)
	}
	return attached, r
}

func (r *report) fail(at stage, err error) *report {
	r.Stage, r.Error = at, err.Error()
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		r.Errno = int(errno)
	}
	return r
}

// become turns this process into the command.
func become(command []string, o *orders) int {
	path, err := o.Path, error(nil)
	if path == "" {
		path, err = exec.LookPath(command[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "l3run:", err)
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return exitNotFound
		}
		return exitCannotRun
	}
	// If the outer process is killed there is no network any more: the command
	// is asked to end.
	err = os.NewSyscallError("prctl(PR_SET_PDEATHSIG)", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0))
	if err == nil {
		err = closeOnExec()
	}
	if err == nil {
		err = syscall.Exec(path, command, os.Environ())
		if err == syscall.ENOEXEC { // a script without #!, which execvp(3) gives to the shell
			err = syscall.Exec("/bin/sh", append([]string{"sh", path}, command[1:]...), os.Environ())
		}
		err = os.NewSyscallError("exec "+path, err)
	}
	fmt.Fprintln(os.Stderr, "l3run:", err)
	return exitCannotRun
}

// closeOnExec keeps every descriptor but the standard ones from the command,
// those too that l3run itself has inherited: a socket among them would be one of
// the outer network.
func closeOnExec() error {
	const first = 3
	err := unix.CloseRange(first, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// Before Linux 5.11.
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
