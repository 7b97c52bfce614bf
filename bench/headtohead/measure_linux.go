package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// plan is what is measured, and how long.
type plan struct {
	only []string // of measurements
	mtu  int
	span time.Duration // of one transfer

	settleFor time.Duration // before anything of what is measured at rest
	idleFor   time.Duration // of the quiet in which switches are counted
	goneFor   time.Duration // between the end of the idle connections and the look at the memory
	conns     []int         // how many idle connections there are to be, in turn
	crowd     int           // connections of the crowd that load brings; the sockets follow from it
}

// measurements can be chosen. Those of the first row are repeated in each round; those
// of the second are less shaken by other load, take long, and are done once.
var (
	measurements = []string{"bulk", "conn", "latency", "udp", "quic"}
	stress       = []string{"load"} // as the first row, but only if it is named
	quiet        = []string{"memory", "idle"}
)

// repeated are the measurements of each round.
func repeated() []string { return slices.Concat(measurements, stress) }

func (p *plan) wants(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(p.only, n) })
}

// visit is one program's turn.
type visit struct {
	*program
	*plan
	self     string
	limit    time.Duration // of all
	world    *world
	server   *process
	through  *process // nil where the kernel forwards
	figures  figures
	progress func(doing string)
}

// open brings the network, the server and the program up, and checks that they work.
// close is to be called in any case.
func (v *visit) open() (err error) {
	v.progress("starting")
	if v.world, err = newWorld(v.mtu, v.limit); err != nil {
		return err
	}
	v.server, err = v.world.server.start(&exec.Cmd{Path: v.self, Args: []string{roleServer}}, v.limit)
	if err != nil {
		return err
	}
	if v.through, err = v.start(v.world); err != nil {
		return err
	}
	return v.survived(v.checked("reach"))
}

func (v *visit) close() error {
	for _, p := range []*process{v.through, v.server} {
		if p != nil {
			p.stop()
		}
	}
	if v.world == nil {
		return nil
	}
	return v.world.close()
}

// survived adds to an error what became of the program, if it has ended.
func (v *visit) survived(err error) error {
	if err != nil && v.through != nil {
		err = errors.Join(err, v.through.alive())
	}
	return err
}

// run measures what is repeated in each round. A measurement that fails leaves what
// it has measured so far, and those behind it their turn; but when data was wrong or
// the program is gone nothing follows. There are no figures of bulk from a program
// that could not move the data whose SHA-256 is compared.
func (v *visit) run() (err error) {
	defer func() { err = errors.Join(err, v.close()) }()
	if err := v.open(); err != nil {
		return err
	}
	var failed []error
	bad := func(err error) (fatal bool) {
		if err == nil {
			return false
		}
		failed = append(failed, v.survived(err))
		return v.through != nil && v.through.alive() != nil || strings.Contains(err.Error(), errWrong.Error())
	}
	hashed := v.checked("hash")
	if bad(hashed) {
		return errors.Join(failed...)
	}
	for i, measure := range []func() error{v.bulks, v.connect, v.latency, v.datagrams, v.quic, v.load} {
		if !v.wants(repeated()[i]) || i == 0 && hashed != nil {
			continue
		}
		if bad(measure()) {
			break
		}
	}
	return errors.Join(failed...)
}

// checked does what has no figure.
func (v *visit) checked(do string) error {
	_, _, err := v.client(order{Do: do, For: 2 * time.Second})
	return err
}

func (v *visit) bulks() error {
	for _, streams := range []int{1, 8} {
		for _, do := range []string{"up", "down"} {
			r, cpu, err := v.client(order{Do: do, Streams: streams, For: v.span})
			if err != nil {
				return err
			}
			gbit, name := float64(r.Bytes)*8/1e9, fmt.Sprint(do, streams)
			v.figures[name] = gbit / r.Took.Seconds()
			if cpu > 0 {
				v.figures[name+perCPU] = gbit / cpu.Seconds()
			}
		}
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

// The loads of datagrams, a second: 100 Mbit/s, and ten times that.
const (
	steadyRate = 100_000_000 / 8 / datagramSize
	floodRate  = 10 * steadyRate
)

func (v *visit) datagrams() error {
	for _, l := range []struct {
		name string
		rate int
	}{{steady, steadyRate}, {flood, floodRate}} {
		for _, way := range []string{"up", "down"} {
			r, cpu, err := v.client(order{Do: "datagrams " + way, Rate: l.rate, For: v.span})
			if err != nil {
				return fmt.Errorf("%d datagrams a second: %w", l.rate, err)
			}
			name := l.name + way
			v.figures[name+datagramsSent] = float64(r.Sent) / v.span.Seconds()
			v.figures[name+datagramsLost] = 100 * float64(r.Sent-r.Count) / float64(r.Sent)
			if cpu > 0 && r.Count > 0 {
				v.figures[name+datagramCPU] = float64(cpu.Nanoseconds()) / 1e3 / float64(r.Count)
			}
		}
	}
	return nil
}

func (v *visit) quic() error {
	r, cpu, err := v.client(order{Do: "quic down", For: v.span})
	if err != nil {
		return fmt.Errorf("QUIC: %w", err)
	}
	gbit := float64(r.Bytes) * 8 / 1e9
	v.figures[quicRate] = gbit / r.Took.Seconds()
	if cpu > 0 {
		v.figures[quicRate+perCPU] = gbit / cpu.Seconds()
	}
	return nil
}

// latency is measured with everything on one processor; under load everything is free
// to run where it will, since else the scheduler would be all that is measured.
func (v *visit) latency() error {
	for _, l := range []struct{ do, p50, p99 string }{{"echo", pingP50, pingP99}, {"datagram echo", datagramP50, datagramP99}} {
		if err := v.pinned(func(processor int) error {
			r, _, err := v.client(order{Do: l.do, For: v.span, Pinned: true, Processor: processor})
			v.quantiles(r, l.p50, l.p99)
			return err
		}); err != nil {
			return err
		}
	}
	const before = 300 * time.Millisecond // for the load to begin, and after the exchanges
	load, err := v.begin(order{Do: "both", Streams: 8, For: 2*v.span + 2*before})
	if err != nil {
		return err
	}
	defer load.stop()
	time.Sleep(before)
	r, _, err := v.client(order{Do: "echo", For: 2 * v.span}) // there are fewer of them in a second
	if err != nil {
		return err
	}
	if _, err = load.finish(); err == nil {
		v.quantiles(r, loadedP50, loadedP99)
	}
	return err
}

// quantiles sets the figures of exchanges, if there were any.
func (v *visit) quantiles(r outcome, p50, p99 string) {
	if r.Count > 0 {
		v.figures[p50], v.figures[p99] = float64(r.P50.Nanoseconds())/1e3, float64(r.P99.Nanoseconds())/1e3
	}
}

// pinned runs f while server and program are on one processor, the last one that there
// is: the first takes more interrupts.
func (v *visit) pinned(f func(processor int) error) error {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	last := 0
	for i := range 1024 { // CPU_SETSIZE
		if all.IsSet(i) {
			last = i
		}
	}
	err := v.everywhere(func(pid int) error { return pin(pid, last) })
	if err == nil {
		err = f(last)
	}
	return errors.Join(err, v.everywhere(func(pid int) error { return affinity(pid, &all) }))
}

func (v *visit) everywhere(f func(pid int) error) error {
	err := f(v.server.cmd.Process.Pid)
	if v.through != nil {
		err = errors.Join(err, f(v.through.cmd.Process.Pid))
	}
	return err
}

// running is a client at work.
type running struct {
	*process
	do  string
	out bytes.Buffer // what it says; to be read when it has ended
}

// command is the client with an order. It is bounded by what it is to do.
func (v *visit) command(o order) (*exec.Cmd, time.Duration, error) {
	o.Network = v.network
	arg, err := json.Marshal(o)
	return &exec.Cmd{Path: v.self, Args: []string{roleClient, string(arg)}}, o.For + 2*patience, err
}

func (v *visit) begin(o order) (*running, error) {
	v.progress(strings.TrimSuffix(fmt.Sprint(o.Do, " ", max(o.Streams, o.Rate)), " 0"))
	cmd, limit, err := v.command(o)
	if err != nil {
		return nil, err
	}
	r := &running{do: o.Do}
	cmd.Stdout = &r.out
	r.process, err = v.world.client.start(cmd, limit)
	return r, err
}

// finish waits for what the client has to say.
func (r *running) finish() (o outcome, err error) {
	<-r.ended
	if r.err != nil {
		return o, fmt.Errorf("%s: %w: %s", r.do, r.err, r.output.String())
	}
	return o, json.Unmarshal(r.out.Bytes(), &o)
}

// client runs a client, and returns the processor time that the program took
// meanwhile.
func (v *visit) client(o order) (r outcome, cpu time.Duration, err error) {
	before, err := v.cpu()
	if err != nil {
		return r, 0, err
	}
	c, err := v.begin(o)
	if err != nil {
		return r, 0, err
	}
	if r, err = c.finish(); err != nil {
		return r, 0, err
	}
	after, err := v.cpu()
	return r, after - before, err
}

func (v *visit) cpu() (time.Duration, error) {
	if v.through == nil {
		return 0, nil
	}
	return cpuTime(v.through.cmd.Process.Pid)
}
