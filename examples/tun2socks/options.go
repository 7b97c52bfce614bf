package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"l3extract/l3conn/tun"
)

// options is the command line.
type options struct {
	device  string // the interface's name
	mtu     int    // 0: the interface's own
	via     string // -interface
	mark    uint32
	level   slog.Level
	drain   time.Duration
	workers int
	memory  int64 // bytes for everything; 0: the stack's default
	queue   int   // descriptor of the interface's queue that this worker serves; 0: it is none
	version bool
}

// maxWorkers is how many queues a TUN interface of Linux has at most.
const maxWorkers = 256

// silent is above every level that is logged.
const silent = slog.LevelError + 4

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "warning": slog.LevelWarn,
	"error": slog.LevelError, "silent": silent,
}

// parseOptions returns flag.ErrHelp for -help, when it has written the help to out.
func parseOptions(args []string, out io.Writer) (*options, error) {
	o := &options{level: slog.LevelInfo}
	f := flag.NewFlagSet("tun2socks", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Func("device", "the TUN interface, `tun://NAME` or NAME; it is made if it does not exist", func(s string) error {
		if scheme, name, ok := strings.Cut(s, "://"); ok {
			if scheme != "tun" {
				return fmt.Errorf("%s:// is not supported, only tun:// is", scheme)
			}
			s = name
		}
		if s == "" {
			return errors.New("a name is missing")
		}
		o.device = s
		return nil
	})
	f.Func("proxy", "where flows go; `direct://` is the only one for now, and the default", func(s string) error {
		if s != "direct://" && s != "direct" {
			return errors.New("only direct:// is supported for now")
		}
		return nil
	})
	f.IntVar(&o.mtu, "mtu", 0, "largest packet of the interface in `bytes` (default: the interface's own, 1500 for a new one)")
	f.StringVar(&o.via, "interface", "", "leave by the interface of this `NAME`")
	f.Func("fwmark", "set this `MARK` on every packet that leaves, for ip rule (Linux)", func(s string) error {
		n, err := strconv.ParseUint(s, 0, 32)
		if err != nil {
			return errors.New("want a number of 32 bits, as 1 or 0x1f")
		}
		o.mark = uint32(n)
		return nil
	})
	f.Func("loglevel", "`LEVEL` of what is logged: debug, info, warn, error or silent (default info)", func(s string) error {
		level, ok := levels[strings.ToLower(s)]
		if !ok {
			return errors.New("want debug, info, warn, error or silent")
		}
		o.level = level
		return nil
	})
	f.DurationVar(&o.drain, "drain", 10*time.Second, "how `long` open connections may go on after SIGTERM or SIGINT")
	f.IntVar(&o.workers, "workers", 1, "`number` of processes that share the interface's traffic, one thread each (Linux)")
	f.Var((*bytesFlag)(&o.memory), "memory", "hold at most so many `bytes`, as 64MiB: beyond, flows that hold most and have moved least are reset (default 1GiB of buffers)")
	f.IntVar(&o.queue, "queue", 0, "serve the open queue with this `descriptor` until standard input ends: how workers are started")
	f.BoolVar(&o.version, "version", false, "print the version and exit")
	f.Usage = func() {} // a mistake needs one line, not the help
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(out, "tun2socks -device tun://NAME [flags]: dials out what is sent into a TUN interface.")
			f.SetOutput(out)
			f.PrintDefaults()
		}
		return nil, err
	}
	return o, o.check(f.Args())
}

// check judges what one flag alone cannot.
func (o *options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.version:
		return nil
	case o.device == "":
		return errors.New("-device is missing")
	case o.mtu != 0 && (o.mtu < tun.MinMTU6 || o.mtu > tun.MaxMTU):
		return fmt.Errorf("invalid value %d for flag -mtu: want %d to %d", o.mtu, tun.MinMTU6, tun.MaxMTU)
	case o.workers < 1 || o.workers > maxWorkers:
		return fmt.Errorf("invalid value %d for flag -workers: want 1 to %d", o.workers, maxWorkers)
	case o.queue < 0:
		return fmt.Errorf("invalid value %d for flag -queue: negative", o.queue)
	case o.drain < 0:
		return fmt.Errorf("invalid value %v for flag -drain: negative", o.drain)
	}
	return nil
}

// version tells what this program was built from.
func version() string {
	v := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v += " " + s.Value
			}
		}
	}
	return fmt.Sprintf("tun2socks of l3extract %s, %s, %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
