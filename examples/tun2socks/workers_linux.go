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
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"l3extract/adapters/autoroute"
	"l3extract/examples/tun2socks/internal/config"
	"l3extract/examples/tun2socks/internal/hooks"
	"l3extract/examples/tun2socks/internal/systemd"
	"l3extract/l3conn/tun"
)

// queueFD is the descriptor by which a worker has its queue: the first behind the
// standard ones.
const queueFD = 3

// serveWorkers has as many processes of this program as were asked for serve a queue of the
// interface each, on one thread, until ctx ends or one of them does. Hooks and routes are
// this process's; it serves no flow itself.
func (p *program) serveWorkers(ctx context.Context, log io.Writer) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := p.in.Config
	queues, err := p.openQueues(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	workers := new(group)
	for _, q := range queues {
		file, err := fileOf(q)
		if err != nil {
			cancel()
			return errors.Join(err, g.Wait())
		}
		defer file.Close()
		cmd := exec.Command(self)
		cmd.Args = append(append(os.Args[:1:1], p.args...),
			"-workers=1", "-queue="+strconv.Itoa(queueFD), "-mtu="+strconv.Itoa(q.MTU()))
		if c.Memory > 0 {
			cmd.Args = append(cmd.Args, "-memory="+max(c.Memory/config.Size(c.Workers), config.MinMemory).String()) // each has its part
		}
		cmd.ExtraFiles = []*os.File{file}
		cmd.Stderr = log
		if os.Getenv("GOMAXPROCS") == "" {
			cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
		}
		g.Go(func() error {
			defer cancel() // all end together
			return workers.run(ctx, cmd)
		})
	}
	if c.Routes.Auto {
		if p.routes, err = autoroute.Setup(routesOf(c, p.name)); err != nil {
			cancel()
			return errors.Join(err, g.Wait())
		}
		defer func() { err = errors.Join(err, p.routes.Close()) }()
	}
	systemd.Notify(p.log.Logger, systemd.Ready)
	reload, ignore := reloads()
	defer ignore()
	beside := make(chan struct{})
	go func() { // awaited below
		defer close(beside)
		for {
			select {
			case <-reload:
				workers.signal(syscall.SIGHUP)
			case <-ctx.Done():
				return
			}
		}
	}()
	err = g.Wait()
	cancel()
	<-beside
	systemd.Notify(p.log.Logger, systemd.Stopping)
	return err
}

// openQueues opens the interface between its hooks.
func (p *program) openQueues(ctx context.Context) ([]*tun.Device, error) {
	c := p.in.Config
	_, p.name, _ = strings.Cut(c.Device, "://")
	if p.name == "" {
		p.name = c.Device
	}
	env := map[string]string{"TUN_DEVICE": p.name, "TUN_MTU": strconv.Itoa(c.MTU)}
	if err := hooks.Run(ctx, "tun-pre-up", c.PreUp, env); err != nil {
		return nil, err
	}
	queues, err := tun.OpenQueues(&tun.Config{Name: p.name, MTU: c.MTU}, c.Workers)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", c.Device, err)
	}
	p.name = queues[0].Name()
	if err := hooks.Run(ctx, "tun-post-up", c.PostUp, env); err != nil {
		for _, q := range queues {
			err = errors.Join(err, q.Close())
		}
		return nil, err
	}
	return queues, nil
}

// group are the workers that run.
type group struct {
	mu  sync.Mutex
	all []*os.Process
}

func (g *group) signal(s os.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.all {
		_ = p.Signal(s) // one that has ended ends the others
	}
}

// run runs cmd until it ends, which it is asked for when ctx ends: its standard
// input is closed. It is killed with this process.
func (g *group) run(ctx context.Context, cmd *exec.Cmd) error {
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
	g.mu.Lock()
	g.all = append(g.all, cmd.Process)
	g.mu.Unlock()
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
