package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary play the roles of the program.
func TestMain(m *testing.M) {
	switch os.Args[0] {
	case roleServer, roleClient, roleNamed:
		main()
		os.Exit(0)
	}
	// With the race detector each of them would wait a second before it exits.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// newVisit is a brief visit, of a kind that measures so little that its figures mean
// nothing.
func newVisit(t *testing.T, name string, only ...string) *visit {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all := programs(self, "../..", t.TempDir())
	at := slices.IndexFunc(all, func(p *program) bool { return p.name == name })
	if p := all[at]; p.prepare != nil {
		if err := p.prepare(t.Context(), ""); err != nil {
			t.Skip(err)
		}
	}
	return &visit{
		program: all[at], self: self, limit: time.Minute, figures: make(figures), progress: func(doing string) { t.Log(doing) },
		plan: &plan{
			only: only, mtu: defaultMTU, span: 100 * time.Millisecond,
			settleFor: 100 * time.Millisecond, idleFor: 100 * time.Millisecond, goneFor: 100 * time.Millisecond, conns: []int{20, 50}, crowd: 40,
		},
	}
}

// TestVisit takes every measurement of the plain proxy, and some of those that make
// their interface in other ways.
func TestVisit(t *testing.T) {
	bulk := slices.Concat(bulkNames, perCPUNames())
	conn := []string{connections, connectionCPU}
	latency := []string{pingP50, pingP99, loadedP50, loadedP99, datagramP50, datagramP99}
	load := []string{pageQuiet, pageNeighbour, pageCrowd, connectQuiet, connectNeighbour, connectCrowd, crowdCPU, crowdTrickled}
	var udp []string
	for _, l := range []string{steady, flood} {
		for _, way := range []string{"up", "down"} {
			udp = append(udp, l+way+datagramsSent, l+way+datagramCPU)
		}
	}
	for _, c := range []struct {
		program string
		mtu     int
		only    []string
		want    []string
	}{
		{"proxy", defaultMTU, measurements, slices.Concat(bulk, conn, latency, udp)},
		{"none", defaultMTU, []string{"bulk", "conn"}, []string{"up1", "down8", connections}},
		{"ours", 9000, []string{"bulk", "conn", "udp", "load"}, slices.Concat(bulk, conn, udp, load)},
		{"slirp4netns", defaultMTU, []string{"bulk", "conn"}, slices.Concat(bulk, conn)},
	} {
		t.Run(c.program, func(t *testing.T) {
			v := newVisit(t, c.program, c.only...)
			v.mtu = c.mtu
			if err := v.run(); err != nil {
				t.Error(err)
			}
			for _, name := range c.want {
				if v.figures[name] <= 0 {
					t.Errorf("no figure for %s in %v", name, v.figures)
				}
			}
		})
	}
}

// TestPasta does without transfers, in which some of its versions stall.
func TestPasta(t *testing.T) {
	v := newVisit(t, "pasta")
	defer func() {
		if err := v.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := v.open(); err != nil {
		t.Fatal(err)
	}
	if err := v.connect(); err != nil {
		t.Fatal(err)
	}
	if v.figures[connections] <= 0 || v.figures[connectionCPU] <= 0 {
		t.Errorf("no figures in %v", v.figures)
	}
}

// TestRest holds a few connections idle.
func TestRest(t *testing.T) {
	v := newVisit(t, "proxy", quiet...)
	if err := v.rest(t.Context(), new(sync.Mutex)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{memory, memoryIdle(20), memoryIdle(50), memoryEach, memoryGone, memoryAgain} {
		if v.figures[name] <= 0 {
			t.Errorf("no figure for %s in %v", name, v.figures)
		}
	}
	for _, name := range []string{memoryMore, wakeUps} { // may be nothing
		if _, ok := v.figures[name]; !ok {
			t.Errorf("no figure for %s in %v", name, v.figures)
		}
	}
}

// TestDeath has the program die, and the visit say so.
func TestDeath(t *testing.T) {
	v := newVisit(t, "proxy", "bulk")
	start := v.start
	v.program = &program{name: "dying", network: v.network, start: func(w *world) (*process, error) {
		p, err := start(w)
		if err == nil {
			p.stop()
		}
		return p, err
	}}
	if err := v.run(); err == nil || v.through.alive() == nil {
		t.Errorf("nothing is wrong with a program that has died: %v, %v", err, v.through.alive())
	}
	if len(v.figures) > 0 {
		t.Errorf("it has figures: %v", v.figures)
	}
}

// TestCPUTime compares this process's clock with what getrusage(2) says.
func TestCPUTime(t *testing.T) {
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		t.Fatal(err)
	}
	got, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		t.Fatal(err)
	}
	spent := func(r unix.Rusage) time.Duration { return time.Duration(r.Utime.Nano() + r.Stime.Nano()) }
	const slack = 50 * time.Millisecond // getrusage may lag behind by the ticks that are running
	if got < spent(before)-slack || got > spent(after)+slack {
		t.Errorf("%v, and getrusage says %v to %v", got, spent(before), spent(after))
	}
}

func TestSwitches(t *testing.T) {
	const status = "Name:\ta\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t5\n"
	if got, err := parseSwitches(status); got != 12 || err != nil {
		t.Errorf("got %d, %v, want 12", got, err)
	}
	if _, err := parseSwitches("Name:\ta\n"); err == nil {
		t.Error("a status without counts is taken")
	}
	if got := switchesSince(map[string]int{"a": 5, "b": 9}, map[string]int{"a": 7, "c": 3}); got != 5 {
		t.Errorf("got %d switches, want 5: those of b are in no count any more, and c is new", got)
	}
	if _, err := switches(os.Getpid()); err != nil {
		t.Error(err)
	}
}

// TestDatagrams wants what was sent to be told from what was not.
func TestDatagrams(t *testing.T) {
	l := load{datagramUp, 77}
	b := make([]byte, datagramSize)
	for _, n := range []uint64{0, 1, 12_345_678} {
		l.fill(b, n)
		if got, right := parseDatagram(b); got != l || !right {
			t.Errorf("%d: %v, %v", n, got, right)
		}
		b[len(b)-1]++
		if _, right := parseDatagram(b); right {
			t.Errorf("%d: a wrong byte goes unnoticed", n)
		}
	}
	l.fill(b, 3)
	if _, right := parseDatagram(b[:len(b)-1]); right {
		t.Error("a short one is taken")
	}
}

// TestCheck wants harm to a stream to be seen: a changed byte, bytes that are missing
// in its midst, and an end that is a reset.
func TestCheck(t *testing.T) {
	const size = 3 << 20
	whole := slices.Concat(pattern, pattern)[:size]
	changed := slices.Clone(whole)
	changed[size-1]++
	for _, c := range []struct {
		name  string
		data  []byte
		reset bool
		right bool
	}{
		{"whole", whole, false, true},
		{"changed", changed, false, false},
		{"missing", slices.Concat(whole[:1<<20], whole[1<<20+1448:]), false, false},
		{"reset", whole, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			out, err := net.DialTCP("tcp4", nil, ln.Addr().(*net.TCPAddr))
			if err != nil {
				t.Fatal(err)
			}
			in, err := ln.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			sent := make(chan struct{})
			go func() { // awaited below; ends since all is read, or in is closed
				defer close(sent)
				_, _ = out.Write(c.data)
				if c.reset {
					_ = out.SetLinger(0)
				}
				_ = out.Close()
			}()
			n, right := check(in)
			if right != c.right || right && n != size {
				t.Errorf("%d bytes, right: %v", n, right)
			}
			_ = in.Close()
			<-sent
		})
	}
}

func TestArguments(t *testing.T) {
	for _, bad := range [][]string{
		{"-only", "bulk,speed"}, {"-only", ""}, {"-mtu", "100"}, {"-rounds", "0"}, {"-span", "1h"}, {"-gone", "-1s"}, {"more"},
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	c, err := parse([]string{"-only", "udp,idle", "-mtu", "9000"})
	if err != nil {
		t.Fatal(err)
	}
	if !c.wants("udp") || c.wants("memory", "bulk") || c.mtu != 9000 {
		t.Errorf("understood as %+v", c.plan)
	}
}

// TestFiles has a comparison write what it has.
func TestFiles(t *testing.T) {
	c := &comparison{out: t.TempDir(), plan: plan{mtu: 9000}, report: *sample()}
	stdout := os.Stdout
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	os.Stdout = null
	err = c.write()
	os.Stdout = stdout
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"RESULTS-mtu9000.md", "results-mtu9000.json", "throughput-mtu9000.svg", "cost-mtu9000.svg"} {
		if i, err := os.Stat(filepath.Join(c.out, name)); err != nil || i.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestChildren follows a process to its descendants.
func TestChildren(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if got := tree(os.Getpid()); !slices.Contains(got, cmd.Process.Pid) {
		t.Errorf("%d is not among %v", cmd.Process.Pid, fmt.Sprint(got))
	}
}

func perCPUNames() (names []string) {
	for _, n := range bulkNames {
		names = append(names, n+perCPU)
	}
	return names
}
