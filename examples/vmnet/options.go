package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"l3extract/adapters/dns"
	"l3extract/l3conn/ether"
)

// options is the command line.
type options struct {
	listen  *url.URL
	peer    string
	tap     string
	guests  int
	ether   ether.Config
	dns     string
	via     string // -interface
	private bool   // -deny-private
	level   slog.Level
	drain   time.Duration
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// help stands above the flags.
const help = `vmnet -listen URL | -tap NAME [flags]: the network of virtual machines, in user space.

  vmnet -listen unix:///tmp/vmnet
  qemu-system-x86_64 ... -device virtio-net-pci,netdev=n0 \
    -netdev stream,id=n0,server=off,addr.type=unix,addr.path=/tmp/vmnet

  vmnet -listen unixgram:///tmp/vmnet -peer /tmp/qemu
  qemu-system-x86_64 ... -device virtio-net-pci,netdev=n0 \
    -netdev dgram,id=n0,local.type=unix,local.path=/tmp/qemu,remote.type=unix,remote.path=/tmp/vmnet
`

// parseOptions returns flag.ErrHelp for -help, when it has written the help to out.
func parseOptions(args []string, out io.Writer) (*options, error) {
	o := &options{level: slog.LevelInfo}
	net4, net6 := ether.DefaultAddrs()[0].String(), ether.DefaultAddrs()[1].String()
	f := flag.NewFlagSet("vmnet", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Func("listen", "where qemu finds us, a `URL`: unix:///PATH or tcp://HOST:PORT for -netdev stream,\n"+
		"unixgram:///PATH or udp://HOST:PORT for -netdev dgram", func(s string) (err error) {
		o.listen, err = parseListen(s)
		return err
	})
	f.StringVar(&o.peer, "peer", "", "where qemu is, a `PATH` or HOST:PORT; for unixgram and udp")
	f.StringVar(&o.tap, "tap", "", "serve the Linux tap interface of this `NAME`, made if there is none")
	f.IntVar(&o.guests, "guests", 16, "how `many` connections of qemu may be there at once")
	f.StringVar(&net4, "net", net4, "the gateway's IPv4 `address` and network; none: no IPv4")
	f.StringVar(&net6, "net6", net6, "the gateway's IPv6 `address` and network, a /64; none: no IPv6")
	f.IntVar(&o.ether.MTU, "mtu", 1500, "the largest packet in `bytes`; guests are told")
	f.StringVar(&o.ether.Domain, "domain", "", "the `domain` of the guests")
	f.BoolVar(&o.ether.Proxy, "proxy-arp", false, "answer for all addresses, for guests that know no gateway")
	f.StringVar(&o.dns, "dns", "", "ask this `URL` for names in place of the host's resolver, such as tls://dns.quad9.net")
	f.StringVar(&o.via, "interface", "", "dial out by the interface of this `NAME`")
	f.BoolVar(&o.private, "deny-private", false, "refuse private networks (RFC 1918, RFC 4193, RFC 6598) to guests")
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
			fmt.Fprint(out, help+"\n")
			f.SetOutput(out)
			f.PrintDefaults()
		}
		return nil, err
	}
	if err := o.checkFlags(f.Args()); err != nil {
		return nil, err
	}
	return o, o.networks(net4, net6)
}

// checkFlags judges what one flag alone cannot.
func (o *options) checkFlags(rest []string) error {
	grams := o.listen != nil && (o.listen.Scheme == "unixgram" || o.listen.Scheme == "udp")
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case (o.listen == nil) == (o.tap == ""):
		return errors.New("want one of -listen and -tap")
	case grams && o.peer == "":
		return fmt.Errorf("-peer is missing: where is qemu, for -listen %v?", o.listen)
	case !grams && o.peer != "":
		return errors.New("-peer is for -listen unixgram:// and udp://")
	case o.guests < 1:
		return fmt.Errorf("invalid value %d for flag -guests: less than 1", o.guests)
	case o.drain < 0:
		return fmt.Errorf("invalid value %v for flag -drain: negative", o.drain)
	}
	if o.dns != "" {
		u, err := dns.ParseUpstream(o.dns, nil)
		if err != nil {
			return fmt.Errorf("invalid value for flag -dns: %w", err)
		}
		return u.Close()
	}
	return nil
}

// networks reads what the guests' networks are.
func (o *options) networks(net4, net6 string) error {
	for _, n := range []struct{ flag, value string }{{"net", net4}, {"net6", net6}} {
		if n.value == "none" {
			continue
		}
		p, err := netip.ParsePrefix(n.value)
		if err == nil && p.Addr().Is4() != (n.flag == "net") {
			err = errors.New("an address of the other family")
		}
		if err != nil {
			return fmt.Errorf("invalid value %q for flag -%s: %w", n.value, n.flag, err)
		}
		o.ether.Addrs = append(o.ether.Addrs, p)
	}
	if len(o.ether.Addrs) == 0 {
		return errors.New("-net and -net6 are both none")
	}
	return o.ether.Check()
}

func parseListen(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "unix", "unixgram":
		if u.Host != "" || len(u.Path) < 2 {
			return nil, fmt.Errorf("want %s:///PATH", u.Scheme)
		}
	case "tcp", "udp":
		if _, err := netip.ParseAddrPort(u.Host); err != nil || u.Path != "" {
			return nil, fmt.Errorf("want %s://ADDRESS:PORT", u.Scheme)
		}
	default:
		return nil, errors.New("want unix://, tcp://, unixgram:// or udp://")
	}
	return u, nil
}
