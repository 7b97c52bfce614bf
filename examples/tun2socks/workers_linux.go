package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"l3extract/l3conn/tun"
)

// queueFD is the descriptor by which a worker has its queue: the first behind the
// standard ones.
const queueFD = 3

// serveWorkers has o.workers processes of this program serve a queue of the interface
// each, on one thread, until ctx ends or one of them does; args are the command line.
func serveWorkers(ctx context.Context, o *options, args []string, log io.Writer) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	queues, err := tun.OpenQueues(&tun.Config{Name: o.device, MTU: o.mtu}, o.workers)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	for _, q := range queues {
		file, err := fileOf(q)
		if err != nil {
			cancel()
			return errors.Join(err, g.Wait())
		}
		defer file.Close()
		cmd := exec.Command(self)
		cmd.Args = append(append(os.Args[:1:1], args...),
			"-workers=1", "-queue="+strconv.Itoa(queueFD), "-mtu="+strconv.Itoa(q.MTU()))
		if o.memory > 0 {
			cmd.Args = append(cmd.Args, fmt.Sprint("-memory=", max(o.memory/int64(o.workers), minMemory))) // each has its part
		}
		cmd.ExtraFiles = []*os.File{file}
		cmd.Stderr = log
		if os.Getenv("GOMAXPROCS") == "" {
			cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
		}
		g.Go(func() error {
			defer cancel() // all end together
			return worker(ctx, cmd)
		})
	}
	return g.Wait()
}

// worker runs cmd until it ends, which it is asked for when ctx ends: its standard
// input is closed. It is killed with this process.
func worker(ctx context.Context, cmd *exec.Cmd) error {
	runtime.LockOSThread() // the death signal follows the thread that started cmd
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = stdin.Close() }) // Wait closes it, too
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	return nil
}

// fileOf moves a queue into a file that a process can inherit.
func fileOf(q *tun.Device) (*os.File, error) {
	raw, err := q.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	err = raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dupErr); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), q.Name()), q.Close()
}
