package config

import (
	"encoding"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Parse reads a command line and the file that it names. For -help it returns
// flag.ErrHelp; Help is the text.
func Parse(args []string) (*Invocation, error) {
	first := &Invocation{Config: Default()}
	if err := first.parse(args); err != nil {
		return nil, err
	}
	if first.Version {
		return first, nil
	}
	in := first
	if first.File != "" {
		in = &Invocation{Config: Default()}
		var err error
		if in.doc, err = load(first.File, in.Config); err != nil {
			return nil, err
		}
		if err := in.parse(args); err != nil { // over what the file says
			return nil, err
		}
	}
	return in, in.settle()
}

// parse reads the flags alone.
func (in *Invocation) parse(args []string) error {
	f := in.flags()
	if err := f.Parse(args); err != nil {
		return oneLine(err)
	}
	if f.NArg() > 0 {
		return &Error{Value: f.Arg(0), Why: "unexpected argument"}
	}
	in.set = make(map[string]bool)
	f.Visit(func(f *flag.Flag) { in.set[f.Name] = true })
	return nil
}

// oneLine hides what the flag package repeats of a value.
func oneLine(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	return errors.New(Redact(strings.ReplaceAll(err.Error(), "\n", " ")))
}

// flags binds the flags to the fields of in.
func (in *Invocation) flags() *flag.FlagSet {
	f := flag.NewFlagSet("tun2socks", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {} // a mistake needs one line, not the help
	c := in.Config

	f.StringVar(&in.File, "config", in.File, "")
	f.BoolVar(&in.Check, "check", in.Check, "")
	f.BoolVar(&in.Version, "version", in.Version, "")
	f.BoolVar(&in.Status, "status", in.Status, "")
	f.BoolVar(&in.Cleanup, "cleanup", in.Cleanup, "")
	f.IntVar(&in.Queue, "queue", in.Queue, "")

	for name, p := range map[string]*string{
		"device": &c.Device, "interface": &c.Interface, "user": &c.User,
		"tun-pre-up": &c.PreUp, "tun-post-up": &c.PostUp, "multicast-groups": &c.MulticastGroups,
		"control-token-file": &c.ControlTokenFile, "control-token-env": &c.ControlTokenEnv,
		"flow-log": &c.FlowLog, "capture": &c.Capture,
	} {
		f.StringVar(p, name, *p, "")
	}
	for name, p := range map[string]encoding.TextUnmarshaler{
		"fwmark": &c.Mark, "loglevel": &c.LogLevel, "memory": &c.Memory, "proxy": &c.Proxy,
		"tcp-rcvbuf": &c.TCPReceive, "tcp-sndbuf": &c.TCPSend, "udp-timeout": &c.UDPTimeout,
		"dial-timeout": &c.DialTimeout, "idle-timeout": &c.IdleTimeout, "drain": &c.Drain,
		"control": &c.Control, "restapi": &c.RestAPI,
	} {
		f.Func(name, "", func(s string) error { return p.UnmarshalText([]byte(s)) })
	}
	f.IntVar(&c.MTU, "mtu", c.MTU, "")
	f.IntVar(&c.Workers, "workers", c.Workers, "")
	f.BoolVar(&c.Pprof, "pprof", c.Pprof, "")
	f.BoolVar(&c.Routes.Auto, "auto-route", c.Routes.Auto, "")
	f.BoolVar(&c.Routes.Strict, "strict", c.Routes.Strict, "")
	f.BoolVar(&c.DNS.FakeIP, "fake-ip", c.DNS.FakeIP, "")
	f.BoolFunc("tcp-auto-tuning", "", func(s string) error {
		on, err := strconv.ParseBool(s)
		c.TCPAutoTuning = &on
		return err
	})
	f.Func("dns", "", func(s string) error {
		c.DNS.Servers = nil
		for one := range strings.SplitSeq(s, ",") {
			c.DNS.Servers = append(c.DNS.Servers, URL(strings.TrimSpace(one)))
		}
		return nil
	})
	f.Func("limit", "", c.Limits.set)
	return f
}

// set reads NAME=N.
func (l *Limits) set(s string) error {
	name, number, _ := strings.Cut(s, "=")
	n, err := strconv.Atoi(number)
	p := l.fields()[name]
	switch {
	case p == nil:
		return fmt.Errorf("no limit of the name %q", name)
	case err != nil:
		return errors.New("want NAME=N, as tcp-per-source=1000")
	}
	*p = n
	return nil
}

// fields returns the limits by their names.
func (l *Limits) fields() map[string]*int {
	return map[string]*int{
		"tcp": &l.TCP, "tcp-per-source": &l.TCPPerSource, "udp": &l.UDP, "udp-per-source": &l.UDPPerSource,
		"handshakes": &l.Handshakes, "handshakes-per-source": &l.HandshakesPerSource,
		"handshakes-per-destination": &l.HandshakesPerDestination, "dials": &l.Dials,
		"dials-per-source": &l.DialsPerSource, "dials-per-destination": &l.DialsPerDestination,
	}
}
