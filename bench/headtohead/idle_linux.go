package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// rest measures what a program takes while little happens: its memory at the start,
// with idle connections, when they are gone, and when as many have come again; and how
// often its threads wake up when there is nothing to do. Programs may rest at the same
// time; with busy held, one of them does something.
func (v *visit) rest(ctx context.Context, busy *sync.Mutex) (err error) {
	defer func() { err = errors.Join(err, v.close()) }()
	alone := func(f func() error) error {
		busy.Lock()
		defer busy.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
		return f()
	}
	if err := alone(v.open); err != nil || v.through == nil {
		return err
	}
	if err := v.pause(ctx, "settling", v.settleFor); err != nil {
		return err
	}
	if v.wants("memory") {
		if err := v.weigh(memory); err != nil {
			return err
		}
	}
	if v.wants("idle") {
		if err := v.countSwitches(ctx); err != nil {
			return v.survived(err)
		}
	}
	if !v.wants("memory") {
		return nil
	}
	if err := alone(func() error { return v.hold(v.conns, memoryIdle) }); err != nil {
		return v.survived(err)
	}
	most := v.conns[len(v.conns)-1]
	v.figures[memoryEach] = (v.figures[memoryIdle(most)] - v.figures[memory]) / float64(most)
	if err := v.pause(ctx, "idle connections are gone", v.goneFor); err != nil {
		return err
	}
	if err := v.weigh(memoryGone); err != nil {
		return v.survived(err)
	}
	if err := alone(func() error { return v.hold([]int{most}, func(int) string { return memoryAgain }) }); err != nil {
		return v.survived(err)
	}
	v.figures[memoryMore] = v.figures[memoryAgain] - v.figures[memoryIdle(most)]
	return nil
}

// pause waits, unless ctx ends.
func (v *visit) pause(ctx context.Context, what string, d time.Duration) error {
	v.progress(fmt.Sprint(what, ", ", d))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// weigh makes the program's memory now a figure.
func (v *visit) weigh(name string) error {
	m, err := resident(v.through.cmd.Process.Pid)
	if err == nil {
		v.figures[name] = m
	}
	return err
}

func (v *visit) countSwitches(ctx context.Context) error {
	before, err := switches(v.through.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := v.pause(ctx, "nothing", v.idleFor); err != nil {
		return err
	}
	after, err := switches(v.through.cmd.Process.Pid)
	if err != nil {
		return err
	}
	v.figures[wakeUps] = float64(switchesSince(before, after))
	return nil
}

// hold weighs the program with so many idle connections, in turn. They are gone when
// it returns.
func (v *visit) hold(stages []int, name func(conns int) string) error {
	v.progress(fmt.Sprint("idle connections ", stages))
	cmd, limit, err := v.command(order{Do: "idle", Stages: stages, For: time.Minute})
	if err != nil {
		return err
	}
	stdin, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	defer tell.Close()
	said, stdout := io.Pipe()
	cmd.Stdin, cmd.Stdout = stdin, stdout
	p, err := v.world.client.start(cmd, limit)
	if err != nil {
		return err
	}
	defer p.stop()
	go func() { // ends with the process
		<-p.ended
		stdout.Close()
	}()
	defer said.Close() // what it says at the end is of no interest
	lines := bufio.NewReader(said)
	for _, conns := range stages {
		if _, err := lines.ReadString('\n'); err != nil {
			p.stop()
			return fmt.Errorf("%d idle connections: %w: %s", conns, errors.Join(err, p.err), p.output.String())
		}
		time.Sleep(settleTime)
		if err := v.weigh(name(conns)); err != nil {
			return err
		}
		if _, err := tell.Write([]byte("\n")); err != nil {
			return err
		}
	}
	return nil
}
