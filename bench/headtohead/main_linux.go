package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The names under which this program starts itself.
const (
	roleServer = "headtohead (server)"
	roleClient = "headtohead (client)"
	roleNamed  = "headtohead (named)"
)

func main() {
	var err error
	switch os.Args[0] {
	case roleServer:
		err = serve()
	case roleClient:
		err = client(os.Args[1])
	case roleNamed:
		err = named(os.Args[1], os.Args[2:])
	default:
		err = compare(os.Args[1:])
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "headtohead:", err)
		os.Exit(1)
	}
}

// comparison is the command line and what came of it.
type comparison struct {
	plan
	out      string
	programs string
	source   string
	rounds   int

	self   string
	report report

	mu    sync.Mutex // guards the terminal
	ready []*program
}

func compare(args []string) error {
	c, err := parse(args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root, to make network namespaces")
	}
	if err := manyFiles(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the first signal lets the visit end; a second one kills, and the rest dies with us
	if c.self, err = os.Executable(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "headtohead-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	if err := c.prepare(ctx, dir); err != nil {
		return err
	}
	c.report.Begun, c.report.Load = time.Now(), loadAverages()
	c.repeat(ctx)
	c.rest(ctx)
	c.report.Ended, c.report.LoadAfter = time.Now(), loadAverages()
	return c.write()
}

func parse(args []string) (*comparison, error) {
	c := new(comparison)
	f := flag.NewFlagSet("headtohead", flag.ContinueOnError)
	known := slices.Concat(measurements, stress, quiet)
	only := strings.Join(slices.Concat(measurements, quiet), ",")
	f.StringVar(&c.out, "out", "headtohead-results", "write tables, figures and charts to this `directory`")
	f.StringVar(&c.programs, "programs", "", "only these, comma-separated (default: all that can be had but those that need a SOCKS5 server or have no offload)")
	f.StringVar(&only, "only", only, "only these measurements, comma-separated; load is done if it is named")
	f.StringVar(&c.source, "source", "../..", "build ours in this `directory`")
	f.IntVar(&c.rounds, "rounds", 3, "how often each program has its turn")
	f.IntVar(&c.mtu, "mtu", defaultMTU, "of every interface")
	f.DurationVar(&c.span, "span", time.Second, "how long one transfer takes")
	f.DurationVar(&c.idleFor, "idle", 20*time.Second, "count context switches for so long")
	f.DurationVar(&c.goneFor, "gone", 20*time.Second, "look at the memory so long after idle connections are gone")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	c.only = strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	// For what a connection leaves behind, and the program's own start, to be over.
	c.settleFor = 30 * time.Second // beyond the time-outs of connections that have ended: idle is idle
	c.crowd = 2000
	c.conns = []int{1000, 9000} // a process may open 20 000 files on many systems, and a proxy needs two for each
	for _, name := range c.only {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown measurement %q", name)
		}
	}
	const long = 10 * time.Minute
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case len(c.only) == 0:
		return nil, errors.New("-only names nothing")
	case c.rounds < 1 || c.span < 100*time.Millisecond || c.span > time.Minute:
		return nil, errors.New("-rounds must be at least 1 and -span 100ms to 1m")
	case c.mtu < 1280 || c.mtu > 65520:
		return nil, errors.New("-mtu must be 1280 to 65520")
	case c.idleFor < 0 || c.goneFor < 0 || c.idleFor > long || c.goneFor > long:
		return nil, errors.New("-idle and -gone must be 0 to 10m")
	}
	c.report = report{
		Machine: machine(), Commit: commit(c.source), MTU: c.mtu, Rounds: c.rounds, IdleFor: c.idleFor, GoneFor: c.goneFor, Conns: c.conns,
		LeftOut: make(map[string]string),
		Command: strings.Join(append([]string{"go run -C bench/headtohead ."}, args...), " "),
	}
	return c, nil
}

const defaultMTU = 1500

// manyFiles lets this process, and those that it starts, open as many files as they
// may. Go does so for itself alone.
func manyFiles() error {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	if err == nil {
		l.Cur = l.Max
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
	}
	return os.NewSyscallError("setrlimit", err)
}

// prepare builds what is wanted and can be had.
func (c *comparison) prepare(ctx context.Context, dir string) error {
	wanted := strings.FieldsFunc(c.programs, func(r rune) bool { return r == ',' })
	for _, p := range programs(c.self, c.source, dir) {
		at := slices.Index(wanted, p.name)
		if at < 0 && (c.programs != "" || p.aside) {
			continue
		}
		if at >= 0 {
			wanted = slices.Delete(wanted, at, at+1)
		}
		if p.prepare != nil {
			c.say("preparing " + p.name)
			if err := p.prepare(ctx, dir); err != nil {
				c.report.LeftOut[p.name] = err.Error()
				c.warn(p.name+" is left out", err)
				continue
			}
		}
		c.ready = append(c.ready, p)
		c.report.Programs = append(c.report.Programs, p.name)
	}
	if len(wanted) > 0 {
		return fmt.Errorf("unknown programs: %s", strings.Join(wanted, ", "))
	}
	return ctx.Err()
}

// visit is a turn of p.
func (c *comparison) visit(p *program, limit time.Duration, progress func(doing string)) *visit {
	return &visit{program: p, plan: &c.plan, self: c.self, limit: limit, figures: make(figures), progress: progress}
}

// keep notes what a visit brought.
func (c *comparison) keep(round int, v *visit, err error) {
	got := visited{Round: round, Program: v.name, Figures: v.figures}
	if err != nil {
		got.Error = err.Error()
		c.warn(v.name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Visits = append(c.report.Visits, got)
}

// repeat visits the programs in turn until all rounds are done or ctx ends.
func (c *comparison) repeat(ctx context.Context) {
	if !c.wants(repeated()...) {
		return
	}
	begun, done, total := time.Now(), 0, c.rounds*len(c.ready)
	each := 14*c.span + 3*time.Second // at first a guess
	for round := 1; round <= c.rounds; round++ {
		for _, p := range c.ready {
			if ctx.Err() != nil {
				return
			}
			finish := time.Now().Add(each*time.Duration(total-done) + c.restTime())
			v := c.visit(p, visitLimit(c.span), func(doing string) {
				c.say(fmt.Sprintf("round %d of %d, %s: %s, %v left", round, c.rounds, p.name, doing, until(finish)))
			})
			c.keep(round, v, v.run())
			done++
			each = time.Since(begun) / time.Duration(done)
		}
	}
}

// visitLimit ends whatever a visit started and did not end: each of some twenty
// transfers may be late.
func visitLimit(span time.Duration) time.Duration { return 3*time.Minute + 40*span }

// restTime guesses how long rest takes.
func (c *comparison) restTime() time.Duration {
	if !c.wants(quiet...) {
		return 0
	}
	d := c.idleFor + c.settleFor
	if c.wants("memory") {
		d += c.goneFor + 10*time.Second*time.Duration(len(c.ready))
	}
	return d
}

// rest measures what is measured once. All programs wait at the same time.
func (c *comparison) rest(ctx context.Context) {
	if !c.wants(quiet...) || ctx.Err() != nil {
		return
	}
	finish := time.Now().Add(c.restTime())
	limit := c.settleFor + c.idleFor + c.goneFor + 3*time.Minute*time.Duration(len(c.ready))
	var busy sync.Mutex
	var wait sync.WaitGroup
	for _, p := range c.ready {
		wait.Go(func() {
			v := c.visit(p, limit, func(doing string) {
				c.say(fmt.Sprintf("at rest, %s: %s, %v left", p.name, doing, until(finish)))
			})
			c.keep(0, v, v.rest(ctx, &busy))
		})
	}
	wait.Wait()
}

func until(t time.Time) time.Duration { return max(0, time.Until(t)).Round(time.Second) }

// say shows what is going on, on one line of a terminal.
func (c *comparison) say(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if terminal() {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", what)
		return
	}
	fmt.Fprintln(os.Stderr, what)
}

// warn shows what stays on the terminal.
func (c *comparison) warn(what string, err error) {
	c.say(fmt.Sprintf("%s: %v\n", what, err))
}

func terminal() bool {
	_, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS)
	return err == nil
}

// write writes the files, and the tables to standard output.
func (c *comparison) write() error {
	if terminal() {
		fmt.Fprintln(os.Stderr)
	}
	c.report.summarise()
	suffix := ""
	if c.mtu != defaultMTU {
		suffix = fmt.Sprint("-mtu", c.mtu)
	}
	err := errors.Join(
		c.report.markdown(os.Stdout),
		c.file("RESULTS"+suffix+".md", c.report.markdown),
		c.file("results"+suffix+".json", c.report.write),
	)
	for _, chart := range charts {
		if len(c.report.having(chart.figures...)) == 0 {
			continue
		}
		err = errors.Join(err, c.file(chart.name+suffix+".svg", func(w io.Writer) error { return chart.draw(&c.report, w) }))
	}
	return err
}

func (c *comparison) file(name string, write func(w io.Writer) error) error {
	f, err := os.Create(filepath.Join(c.out, name))
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// commit tells what is measured as ours.
func commit(source string) string {
	id, err := exec.Command("git", "-C", source, "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(id))
}

// machine describes where this runs.
func machine() string {
	model := "unknown processor"
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	kernel, _ := exec.Command("uname", "-r").Output()
	return fmt.Sprintf("%d × %s, Linux %s, %s", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version())
}

// loadAverages tells what else the machine did.
func loadAverages() string {
	b, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(b))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
