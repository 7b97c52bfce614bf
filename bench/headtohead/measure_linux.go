package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// visit is one program's turn.
type visit struct {
	*program
	self     string
	span     time.Duration // of one transfer
	world    *world
	server   *process
	through  *process // nil where the kernel forwards
	figures  figures
	progress func(doing string)
}

// run measures everything. What was measured before an error stays.
func (v *visit) run() (err error) {
	v.progress("starting")
	if v.world, err = newWorld(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.world.close()) }()
	v.server, err = v.world.server.start(&exec.Cmd{Path: v.self, Args: []string{roleServer}}, visitLimit)
	if err != nil {
		return err
	}
	defer v.server.stop()
	v.through, err = v.start(v.world)
	if v.through != nil {
		defer v.through.stop()
	}
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return v.checked("reach") },
		v.idle,
		func() error { return v.checked("hash") },
		func() error { return v.bulk("up", 1) },
		func() error { return v.bulk("down", 1) },
		func() error { return v.bulk("up", 8) },
		func() error { return v.bulk("down", 8) },
		v.connect,
		v.latency,
	} {
		if err := step(); err != nil {
			if v.through != nil {
				err = errors.Join(err, v.through.alive())
			}
			return err
		}
	}
	return nil
}

// checked does what has no figure.
func (v *visit) checked(do string) error {
	_, _, err := v.client(order{Do: do, For: 10 * time.Second})
	return err
}

func (v *visit) bulk(do string, streams int) error {
	r, cpu, err := v.client(order{Do: do, Streams: streams, For: v.span})
	if err != nil {
		return err
	}
	gbit, name := float64(r.Bytes)*8/1e9, fmt.Sprint(do, streams)
	v.figures[name] = gbit / r.Took.Seconds()
	if cpu > 0 {
		v.figures[name+perCPU] = gbit / cpu.Seconds()
	}
	return nil
}

func (v *visit) connect() error {
	r, cpu, err := v.client(order{Do: "connect", Streams: 50, For: v.span * 3 / 2})
	if err != nil {
		return err
	}
	v.figures[connections] = float64(r.Count) / r.Took.Seconds()
	if cpu > 0 {
		v.figures[connectionCPU] = float64(cpu.Microseconds()) / float64(r.Count)
	}
	return nil
}

// latency is measured with each process on one processor, the program apart.
func (v *visit) latency() error {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	last := runtime.NumCPU() - 1
	err := pin(v.server.cmd.Process.Pid, last)
	if v.through != nil {
		err = errors.Join(err, pin(v.through.cmd.Process.Pid, 0))
	}
	if err != nil {
		return err
	}
	r, _, err := v.client(order{Do: "echo", For: v.span, Pinned: true, Processor: last})
	if err == nil {
		v.figures[pingP50], v.figures[pingP99] = float64(r.P50.Nanoseconds())/1e3, float64(r.P99.Nanoseconds())/1e3
	}
	err = errors.Join(err, affinity(v.server.cmd.Process.Pid, &all))
	if v.through != nil {
		err = errors.Join(err, affinity(v.through.cmd.Process.Pid, &all))
	}
	return err
}

// command is the client with an order. It is bounded by what it is to do.
func (v *visit) command(o order) (*exec.Cmd, time.Duration, error) {
	o.Network = v.network
	arg, err := json.Marshal(o)
	return &exec.Cmd{Path: v.self, Args: []string{roleClient, string(arg)}}, o.For + 30*time.Second, err
}

// client runs a client, and returns the processor time that the program took
// meanwhile.
func (v *visit) client(o order) (r outcome, cpu time.Duration, err error) {
	v.progress(strings.TrimSuffix(fmt.Sprint(o.Do, " ", o.Streams), " 0"))
	cmd, limit, err := v.command(o)
	if err != nil {
		return r, 0, err
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	before, err := v.cpu()
	if err != nil {
		return r, 0, err
	}
	p, err := v.world.client.start(cmd, limit)
	if err != nil {
		return r, 0, err
	}
	<-p.ended
	after, err := v.cpu()
	if err != nil {
		return r, 0, err
	}
	if p.err != nil {
		return r, 0, fmt.Errorf("%s: %w: %s", o.Do, p.err, p.output.String())
	}
	return r, after - before, json.Unmarshal(out.Bytes(), &r)
}

func (v *visit) cpu() (time.Duration, error) {
	if v.through == nil {
		return 0, nil
	}
	return cpuTime(v.through.cmd.Process.Pid)
}

// idle measures the memory of the program before it has done anything, and with
// idleConns connections.
func (v *visit) idle() (err error) {
	if v.through == nil {
		return nil
	}
	pid := v.through.cmd.Process.Pid
	if v.figures[memory], err = resident(pid); err != nil {
		return err
	}
	v.progress(fmt.Sprint("idle ", idleConns))
	cmd, limit, err := v.command(order{Do: "idle", Streams: idleConns, For: 20 * time.Second})
	if err != nil {
		return err
	}
	stdin, release, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	defer release.Close()
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
	_, err = bufio.NewReader(said).ReadString('\n')
	said.Close() // what it says at the end is of no interest
	if err != nil {
		<-p.ended
		return fmt.Errorf("idle: %w: %s", errors.Join(err, p.err), p.output.String())
	}
	time.Sleep(settleTime)
	v.figures[memoryIdle], err = resident(pid)
	return err
}
