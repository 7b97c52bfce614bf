package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The names under which this program starts itself.
const (
	roleServer = "headtohead (server)"
	roleClient = "headtohead (client)"
	roleProxy  = "headtohead (proxy)"
)

func main() {
	var err error
	switch os.Args[0] {
	case roleServer:
		err = serve()
	case roleClient:
		err = client(os.Args[1])
	case roleProxy:
		err = proxy()
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
	out    string
	only   string
	rounds int
	span   time.Duration

	self   string
	begun  time.Time
	report report
}

func compare(args []string) error {
	c := &comparison{begun: time.Now()}
	f := flag.NewFlagSet("headtohead", flag.ContinueOnError)
	f.StringVar(&c.out, "out", "headtohead-results", "write RESULTS.md and results.json to this `directory`")
	f.StringVar(&c.only, "programs", "", "only these, comma-separated (default: all that can be had)")
	f.IntVar(&c.rounds, "rounds", 3, "how often each program has its turn")
	f.DurationVar(&c.span, "span", time.Second, "how long one transfer takes")
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	case c.rounds < 1 || c.span < 100*time.Millisecond || c.span > time.Minute:
		return errors.New("-rounds must be at least 1 and -span 100ms to 1m")
	case os.Geteuid() != 0:
		return errors.New("needs root, to make network namespaces")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if c.self, err = os.Executable(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "headtohead-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c.report = report{
		Load: loadAverages(), Machine: machine(), Begun: c.begun, Rounds: c.rounds, LeftOut: make(map[string]string),
		Command: strings.Join(append([]string{"go run ./bench/headtohead"}, args...), " "),
	}
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	ready, err := c.prepare(ctx, dir)
	if err != nil {
		return err
	}
	c.run(ctx, ready)
	return c.write()
}

// prepare builds what is wanted and can be had.
func (c *comparison) prepare(ctx context.Context, dir string) ([]*program, error) {
	wanted := strings.FieldsFunc(c.only, func(r rune) bool { return r == ',' })
	var ready []*program
	for _, p := range programs(c.self, dir) {
		at := slices.Index(wanted, p.name)
		if c.only != "" && at < 0 {
			continue
		}
		if at >= 0 {
			wanted = slices.Delete(wanted, at, at+1)
		}
		if p.prepare != nil {
			c.say("building " + p.name)
			if err := p.prepare(ctx, dir); err != nil {
				c.report.LeftOut[p.name] = err.Error()
				fmt.Fprintf(os.Stderr, "\n%s is left out: %v\n", p.name, err)
				continue
			}
		}
		ready = append(ready, p)
		c.report.Programs = append(c.report.Programs, p.name)
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("unknown programs: %s", strings.Join(wanted, ", "))
	}
	return ready, ctx.Err()
}

// run visits the programs in turn until all rounds are done or ctx ends.
func (c *comparison) run(ctx context.Context, ready []*program) {
	begun, done, total := time.Now(), 0, c.rounds*len(ready)
	each := 7*c.span + 3*time.Second // at first a guess
	for round := 1; round <= c.rounds; round++ {
		for _, p := range ready {
			if ctx.Err() != nil {
				return
			}
			finish := time.Now().Add(each * time.Duration(total-done))
			v := &visit{program: p, self: c.self, span: c.span, figures: make(figures), progress: func(doing string) {
				left := max(0, time.Until(finish)).Round(time.Second)
				c.say(fmt.Sprintf("round %d of %d, %s: %s, %v left", round, c.rounds, p.name, doing, left))
			}}
			got := visited{Round: round, Program: p.name, Figures: v.figures}
			if err := v.run(); err != nil {
				got.Error = err.Error()
				fmt.Fprintf(os.Stderr, "\n%s: %v\n", p.name, err)
			}
			c.report.Visits = append(c.report.Visits, got)
			done++
			each = time.Since(begun) / time.Duration(done)
		}
	}
}

// say shows what is going on, on one line of a terminal.
func (c *comparison) say(what string) {
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err == nil {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", what)
		return
	}
	fmt.Fprintln(os.Stderr, what)
}

// write writes the files, and the tables to standard output.
func (c *comparison) write() error {
	fmt.Fprintln(os.Stderr)
	c.report.summarise()
	table, err := os.Create(filepath.Join(c.out, "RESULTS.md"))
	if err != nil {
		return err
	}
	data, err := os.Create(filepath.Join(c.out, "results.json"))
	if err != nil {
		return errors.Join(err, table.Close())
	}
	return errors.Join(c.report.markdown(table), c.report.markdown(os.Stdout), c.report.write(data), table.Close(), data.Close())
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
