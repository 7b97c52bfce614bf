package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"
)

// options is the command line.
type options struct {
	config   string
	check    bool
	genkey   bool
	client   []netip.Prefix // of the client to make
	endpoint string
	via      string // -interface
	private  bool   // -deny-private
	level    slog.Level
	drain    time.Duration
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// parseOptions returns flag.ErrHelp for -help, when it has written the help to out.
func parseOptions(args []string, out io.Writer) (*options, error) {
	o := &options{level: slog.LevelInfo}
	f := flag.NewFlagSet("wgserver", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.config, "config", "", "`FILE` with keys, addresses and peers, in wg-quick's format")
	f.BoolVar(&o.check, "check", false, "look at the configuration and exit")
	f.BoolVar(&o.genkey, "genkey", false, "print a new private key and exit")
	f.Func("client", "make a client with these `ADDRESSES` (comma-separated): print its configuration, and its\n"+
		"section for the server on standard error, and exit", func(s string) error {
		return each(s, func(s string) error {
			p, err := parsePrefix(s)
			if err == nil && !p.IsSingleIP() {
				err = fmt.Errorf("%v is a network", p)
			}
			o.client = append(o.client, p)
			return err
		})
	})
	f.StringVar(&o.endpoint, "endpoint", "", "where clients find this server, `HOST:PORT`; for -client")
	f.StringVar(&o.via, "interface", "", "dial out by the interface of this `NAME`")
	f.BoolVar(&o.private, "deny-private", false, "refuse private networks (RFC 1918, RFC 4193, RFC 6598) to clients")
	f.Func("loglevel", "`LEVEL` of what is logged: debug, info, warn or error (default info)", func(s string) error {
		level, ok := levels[strings.ToLower(s)]
		if !ok {
			return errors.New("want debug, info, warn or error")
		}
		o.level = level
		return nil
	})
	f.DurationVar(&o.drain, "drain", 10*time.Second, "how `long` open connections may go on after SIGTERM or SIGINT")
	f.Usage = func() {} // a mistake needs one line, not the help
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(out, "wgserver -config FILE [flags]: ends WireGuard tunnels in user space and dials out.")
			f.SetOutput(out)
			f.PrintDefaults()
		}
		return nil, err
	}
	return o, o.checkFlags(f.Args())
}

// checkFlags judges what one flag alone cannot.
func (o *options) checkFlags(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.genkey:
		return nil
	case o.config == "":
		return errors.New("-config is missing")
	case o.endpoint != "" && len(o.client) == 0:
		return errors.New("-endpoint is for -client")
	case o.drain < 0:
		return fmt.Errorf("invalid value %v for flag -drain: negative", o.drain)
	}
	return nil
}
