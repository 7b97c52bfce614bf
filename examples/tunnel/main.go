package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"l3extract/examples/internal/attach"
)

func main() { attach.Main(run) }

const usage = `tunnel [-websocket]                               a demo of both ends
tunnel keys DIR                                   makes the keys that both ends need
tunnel exit  -keys DIR -listen ADDRESS            takes packets and dials out
tunnel entry -keys DIR -connect ADDRESS -get URL  fetches through it
tunnel entry -keys DIR -connect ADDRESS -tun NAME sends what this host routes into a TUN

`

// options are what the flags say.
type options struct {
	keys      string
	listen    string
	connect   string
	websocket bool
	get       string
	tun       string
	addrs     prefixes
	routes    prefixes
	maps      mapping
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	role := "demo"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		role, args = args[0], args[1:]
	}
	if role == "keys" {
		if len(args) != 1 {
			return errors.New("tunnel keys DIR: one folder is needed")
		}
		return makeKeys(args[0])
	}
	o, err := parse(role, args, stdout)
	if err != nil {
		return err
	}
	switch role {
	case "demo":
		return demo(ctx, o, stdout)
	case "exit":
		return exit(ctx, o, stdout)
	}
	return entry(ctx, o, stdout)
}

// parse reads the flags of a role.
func parse(role string, args []string, stdout io.Writer) (*options, error) {
	o := &options{maps: make(mapping)}
	flags := flag.NewFlagSet(role, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the caller prints the error
	flags.Usage = func() {}
	flags.BoolVar(&o.websocket, "websocket", false, "packets in a WebSocket instead of bare TLS")
	needed := map[string]*string{}
	switch role {
	case "demo":
	case "exit":
		needed["listen"] = flags.String("listen", "", "`address` and port to take the entry on")
		flags.Var(o.maps, "map", "`from=to`: dial the second address and port where the first was meant")
	case "entry":
		needed["connect"] = flags.String("connect", "", "`address` and port of the exit")
		flags.StringVar(&o.get, "get", "", "`URL` to fetch; its host is an address")
		flags.StringVar(&o.tun, "tun", "", "`name` of a TUN interface whose packets enter (as root)")
		flags.Var(&o.addrs, "addr", "`prefix` of this end; more than one may be given (default 198.18.0.1/24 and fd6c:3378::1/64)")
		flags.Var(&o.routes, "route", "`prefix` to route into the TUN; more than one may be given")
	default:
		return nil, fmt.Errorf("%q is none of keys, exit and entry", role)
	}
	if role != "demo" {
		needed["keys"] = flags.String("keys", "", "`folder` that tunnel keys has made")
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(stdout)
			fmt.Fprint(stdout, usage)
			flags.PrintDefaults()
		}
		return nil, err
	}
	for name, value := range needed {
		if *value == "" {
			return nil, fmt.Errorf("tunnel %s: -%s is needed", role, name)
		}
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if role == "entry" && (o.get == "") == (o.tun == "") {
		return nil, errors.New("tunnel entry: one of -get and -tun is needed")
	}
	if len(o.addrs) == 0 {
		o.addrs = attach.Addrs()
	}
	for name, field := range map[string]*string{"keys": &o.keys, "listen": &o.listen, "connect": &o.connect} {
		if v := needed[name]; v != nil {
			*field = *v
		}
	}
	return o, nil
}

// prefixes is a flag that may be given more than once.
type prefixes []netip.Prefix

func (p *prefixes) String() string { return fmt.Sprint([]netip.Prefix(*p)) }

func (p *prefixes) Set(s string) error {
	one, err := netip.ParsePrefix(s)
	*p = append(*p, one)
	return err
}

// mapping says what is dialled in place of an address.
type mapping map[netip.AddrPort]netip.AddrPort

func (m mapping) String() string { return "" }

func (m mapping) Set(s string) error {
	from, to, ok := strings.Cut(s, "=")
	if !ok {
		return errors.New("from=to is needed")
	}
	a, err := netip.ParseAddrPort(from)
	if err != nil {
		return err
	}
	m[a], err = netip.ParseAddrPort(to)
	return err
}
