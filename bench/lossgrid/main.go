package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	switch err := grid(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "lossgrid:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	links    []link
	variants []variant
	rounds   int
	plan     plan
	out      string
	add      bool
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("lossgrid", flag.ContinueOnError)
	loss := f.String("loss", "0,0.1,1", "per `cent` of packets lost")
	rtt := f.String("rtt", "1ms,50ms", "round `trips`")
	reorder := f.String("reorder", "0,1", "per `cent` of packets reordered")
	recovery := f.String("recovery", "sack,rack", "loss `detection`")
	congestion := f.String("congestion", "reno,cubic", "congestion `control`")
	f.IntVar(&o.rounds, "rounds", 1, "how often each cell has its turn")
	f.DurationVar(&o.plan.span, "span", time.Second, "how long is measured, at least")
	f.DurationVar(&o.plan.warm, "warm", 300*time.Millisecond, "how long before that, at least")
	f.IntVar(&o.plan.spanRTTs, "span-rtts", 60, "how long is measured, at least, in round trips")
	f.IntVar(&o.plan.warmRTTs, "warm-rtts", 20, "how long before that, at least, in round trips")
	f.Float64Var(&o.plan.late, "late", 0.125, "how late a reordered packet is, in round trips")
	f.Uint64Var(&o.plan.seed, "seed", 1, "of the first round; the next has the next")
	f.StringVar(&o.out, "out", "lossgrid-results", "write RESULTS.md and results.json to this `directory`")
	f.BoolVar(&o.add, "add", false, "add to what is in that directory")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.rounds < 1 || o.plan.span <= 0 || o.plan.warm < 0 || o.plan.late <= 0 {
		return o, errors.New("-rounds, -span and -late must be positive, -warm not negative")
	}
	losses, err1 := list(*loss, probability)
	rtts, err2 := list(*rtt, time.ParseDuration)
	reorders, err3 := list(*reorder, probability)
	detections, _ := list(*recovery, word)
	controls, _ := list(*congestion, word)
	err = errors.Join(err1, err2, err3)
	for _, t := range rtts {
		for _, p := range losses {
			for _, q := range reorders {
				o.links = append(o.links, link{Loss: p, RTT: t, Reorder: q})
			}
		}
	}
	for _, r := range detections {
		for _, c := range controls {
			v := variant{r, c}
			_, wrong := v.config()
			err = errors.Join(err, wrong)
			o.variants = append(o.variants, v)
		}
	}
	return o, err
}

func grid(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := &report{Machine: machine()}
	if o.add {
		b, err := os.ReadFile(filepath.Join(o.out, "results.json"))
		if err == nil {
			err = json.Unmarshal(b, r)
		}
		if err != nil {
			return err
		}
	}
	r.Runs = append(r.Runs, run{
		Command: strings.Join(append([]string{"go run ./bench/lossgrid"}, args...), " "), Begun: time.Now(), Load: load(),
	})
	o.measure(ctx, r)
	if ctx.Err() != nil {
		return errors.New("interrupted; nothing is written")
	}
	if err := save(o.out, r); err != nil {
		return err
	}
	return r.markdown(os.Stdout)
}

// measure goes through the grid, and says on stderr where it is.
func (o *options) measure(ctx context.Context, r *report) {
	var total time.Duration
	for _, l := range o.links {
		warm, span := o.plan.times(l.RTT)
		total += time.Duration(o.rounds*len(o.variants)) * (warm + span)
	}
	for _, l := range o.links {
		for round := range o.rounds {
			for _, v := range o.variants {
				if ctx.Err() != nil {
					return
				}
				p := o.plan
				p.seed += uint64(round)
				m := transfer(ctx, l, v, p)
				r.Measured = append(r.Measured, m)
				warm, span := p.times(l.RTT)
				total -= warm + span
				fmt.Fprintf(os.Stderr, "%-40v %-11v %8.1f Mbit/s, %d sent again, %d time-outs %s; %v left\n",
					l, v, m.Mbit, m.Retransmits, m.Timeouts, m.Error, total.Round(time.Second))
			}
		}
	}
}

func save(dir string, r *report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, write := range map[string]func(*os.File) error{
		"RESULTS.md":   func(f *os.File) error { return r.markdown(f) },
		"results.json": func(f *os.File) error { return r.write(f) },
	} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// machine says what this runs on, as far as the system tells.
func machine() string {
	model := runtime.GOARCH
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("%d × %s, %s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.Version())
}

// load tells what else the machine did.
func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(b))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
