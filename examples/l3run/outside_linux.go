package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"

	"l3extract/l3conn/tun"
)

// runCommand runs o.command inside and returns its exit code, or l3run's own
// with the error that explains it.
func runCommand(o *options) (int, error) {
	cmd := &exec.Cmd{Args: o.command, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	in := instead(nil)
	if len(o.loopback) > 0 {
		in = hostLoopback(o.loopback)
	}
	return runInside(cmd, orders{}, o, in, nil)
}

// runInside runs cmd inside, with a session outside for as long as it lives. If
// watch is not nil it is called once the command runs, beside it.
func runInside(cmd *exec.Cmd, ord orders, o *options, in instead, watch func(*session)) (code int, err error) {
	// The main goroutine's thread is the inner process's parent.
	runtime.LockOSThread()
	signals := catchSignals()
	ord.Addrs, ord.MTU = insideAddrs, o.mtu
	ord.ResolvConf = readResolvConf().inside(stackAddrs[0], o.proxy == "")
	p, err := spawn(cmd, ord)
	if err != nil {
		return exitSetup, err
	}
	defer p.close()
	device, err := tun.FromFile(p.tun, o.mtu)
	if err != nil {
		p.kill()
		return exitSetup, &setupError{Stage: stageTUN, Err: err}
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	s, err := newSession(device, o, in)
	if err != nil {
		p.kill()
		return exitSetup, err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	if err := p.start(); err != nil {
		p.kill()
		return exitSetup, &setupError{Stage: stageTalk, Err: err}
	}
	ended := make(chan struct{})
	ctx, enough := context.WithCancel(context.Background())
	defer enough()
	go forwardSignals(signals, cmd.Process, ended, enough) // until the channel is closed
	defer close(signals)
	defer signal.Stop(signals)
	if watch != nil {
		watch(s)
	}
	code, err = p.wait()
	close(ended)
	p.drain(ctx, s)
	return code, err
}
