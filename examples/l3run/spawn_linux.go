package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// spawned is the inner process, ready to become the command.
type spawned struct {
	cmd   *exec.Cmd
	pair  channel
	tun   *os.File // ours to give away
	netns *os.File // keeps the namespace when the command has ended
	// sockets asks about the namespace's; nil where the kernel cannot tell.
	sockets *os.File
}

// spawn starts the inner process with cmd's standard files and waits until its
// namespaces are ready. cmd.Args is the command; o.Privileged is filled in.
// The calling goroutine must be locked to a thread that lives as long as the
// process: the kernel takes the end of that thread for the end of the parent.
func spawn(cmd *exec.Cmd, o orders) (*spawned, error) {
	here := host{"/"}
	pair, inner, err := newPair()
	if err != nil {
		return nil, here.diagnose(stageTalk, err)
	}
	defer inner.Close()
	o.Privileged = os.Geteuid() == 0 && privileged()
	cmd.Path = selfPath
	cmd.Args = append([]string{insideName}, cmd.Args...)
	cmd.ExtraFiles = []*os.File{inner}
	cmd.SysProcAttr = namespaces(o.Privileged)
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(here.diagnose(stageStart, cause(err)), pair.Close())
	}
	s := &spawned{cmd: cmd, pair: pair}
	if err := s.prepare(o); err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

func namespaces(privileged bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL, // until it is the command
	}
	if privileged {
		return a
	}
	// One user and one group, the same inside as outside, so that files and keys
	// belong to whom they should. Exec would take the capabilities away from any
	// user but 0, but for the ambient ones.
	uid, gid := os.Geteuid(), os.Getegid()
	a.Cloneflags |= unix.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	a.GidMappingsEnableSetgroups = false
	a.AmbientCaps = setupCaps
	return a
}

func (s *spawned) prepare(o orders) error {
	here := host{"/"}
	if err := s.pair.send(o); err != nil {
		return here.diagnose(stageTalk, cause(err))
	}
	var r report
	attached, err := s.pair.receive(&r)
	switch {
	case errors.Is(err, io.EOF):
		return here.diagnose(stageTalk, errors.New("it has ended"))
	case err != nil:
		return here.diagnose(stageTalk, cause(err))
	case r.Error != "":
		return here.diagnose(r.Stage, r.err())
	case len(attached) < fileSockets:
		return here.diagnose(stageTalk, errors.New("the TUN device did not arrive"))
	}
	s.tun, s.netns = attached[fileTUN], attached[fileNetNS]
	if len(attached) > fileSockets {
		s.sockets = attached[fileSockets]
	}
	return nil
}

// kill ends a process that shall not become the command.
func (s *spawned) kill() {
	s.pair.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.close()
}

// start lets the inner process become the command.
func (s *spawned) start() error {
	err := s.pair.send(word{Go: true})
	return errors.Join(err, s.pair.Close())
}

// wait returns the command's exit code, as a shell would give it.
func (s *spawned) wait() (int, error) {
	err := s.cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return exitSetup, err
	}
	ws, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return exitSignal + int(ws.Signal()), nil
	}
	return s.cmd.ProcessState.ExitCode(), nil
}

// close lets the network namespace go, with what is still in its sockets.
func (s *spawned) close() {
	for _, f := range []*os.File{s.tun, s.netns, s.sockets} {
		if f != nil {
			f.Close()
		}
	}
}

// insideError is an error that came over the pair.
type insideError struct {
	text  string
	errno syscall.Errno
}

func (e *insideError) Error() string { return e.text }

func (e *insideError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

func (r *report) err() error { return &insideError{r.Error, syscall.Errno(r.Errno)} }

// cause leaves out what os/exec wraps around an errno: the name of this program
// as it starts itself says nothing to anyone.
func cause(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}
