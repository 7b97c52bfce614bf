package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
)

// options is the command line.
type options struct {
	verbose  bool
	capture  string       // -pcap
	loopback []netip.Addr // -host-loopback
	mtu      int          // -mtu
	proxy    string       // -proxy; empty: none
	dns      string       // -dns; empty: the host's, or with a proxy nobody
	command  []string     // empty: the demo
}

// The largest is that of a TUN device; the smallest that IPv6 allows. The default
// need not be what any network outside has: TCP ends here, and the fewer packets
// carry the same bytes the better. Larger ones gain little more.
const (
	minMTU     = 1280
	maxMTU     = 65535
	defaultMTU = 32000
)

// parseOptions returns flag.ErrHelp for -help, when it has written the help to out.
func parseOptions(args []string, out io.Writer) (*options, error) {
	o := new(options)
	f := flag.NewFlagSet("l3run", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&o.verbose, "v", false, "write one line per flow to standard error when it ends")
	f.StringVar(&o.capture, "pcap", "", "write every packet to `FILE`, readable by tcpdump and Wireshark")
	f.IntVar(&o.mtu, "mtu", defaultMTU, "largest packet of the TUN device, in `bytes`")
	f.Func("host-loopback", "let the command reach this host's 127.0.0.1 (for an IPv6 `ADDR`: ::1) as ADDR;\n"+
		"may be given twice. Off by default", func(s string) error {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Is4In6() {
			return errors.New("not an address that can stand for the host: take one that nothing uses, such as 198.18.37.3")
		}
		if slices.Contains(insideAddrs, a) || slices.Contains(stackAddrs, a) {
			return errors.New("one of l3run's own")
		}
		o.loopback = append(o.loopback, a)
		return nil
	})
	f.StringVar(&o.proxy, "proxy", "", "connect by the proxy at `URL`, to names by their names, and by nothing else; socks5://,\n"+
		"http://, https://, socks4://, ss://, ssh://, relay://. With ?password-file=PATH the\n"+
		"password is in no list of processes")
	f.StringVar(&o.dns, "dns", "", "ask these `SERVERS` (comma-separated) instead of those in the host's /etc/resolv.conf:\n"+
		"9.9.9.9, tcp://9.9.9.9, tls://dns.quad9.net, https://dns.quad9.net/dns-query. With -proxy\n"+
		"they are asked over it, for what is no address; by default nobody is")
	f.Usage = func() {} // a mistake needs one line, not the help
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, usageHead)
			f.SetOutput(out)
			f.PrintDefaults()
			fmt.Fprint(out, usageTail)
		}
		return nil, err
	}
	o.command = f.Args()
	// Not by Func: package flag would show a password in its error.
	if err := checkWay(o); err != nil {
		return nil, err
	}
	if o.mtu < minMTU || o.mtu > maxMTU {
		return nil, fmt.Errorf("invalid value %d for flag -mtu: want %d to %d", o.mtu, minMTU, maxMTU)
	}
	return o, nil
}

const usageHead = `l3run runs a command whose network traffic is extracted by package l3extract.

  l3run [flags] -- command [arguments]
  l3run                                 a demo that needs no internet

The command runs in a network namespace of its own (Linux) whose only way out is
a TUN device. l3run turns the packets into connections and dials each one from
outside. It needs no root and changes nothing on the host. Standard input and
output, the terminal, signals and the exit code are the command's; 125 means
that l3run itself failed, 126 that the command could not be started, 127 that it
was not found.

Flags:
`

const usageTail = `
Names are looked up by DNS through l3run, with the host's resolvers. The host's
loopback (127.0.0.1, ::1), link-local and multicast addresses are refused.

With -proxy names get addresses that stand for them, and the proxy is given the
name: no query leaves the host. UDP is refused where the proxy carries none, and
pings are not answered. Without the proxy nothing gets out.

ping and traceroute work if l3run may ping: its group is in the host's
net.ipv4.ping_group_range, or it has CAP_NET_RAW. Else it says so at the first ping,
which nobody answers; traceroute by UDP works nevertheless.

What a network namespace cannot hold back: everything that is reached without
the network. That is

  - D-Bus: a command can ask a service on the bus to use the network for it;
  - X11 and Wayland sockets: it can see and drive the desktop's programs;
  - docker.sock and its like: it can start containers outside;
  - a browser already running: a second start of the same profile only opens a
    tab in the first, which is outside. Close it, or give a fresh profile
    (firefox -no-remote -profile DIR, chromium --user-data-dir=DIR);
  - ssh-agent, gpg-agent, and any other Unix socket in the file system. Unix
    sockets with abstract names are held back;
  - addresses of the host other than loopback: what listens on all addresses
    there can be reached by them.

It shows and redirects traffic; it is not a sandbox against hostile programs. Run
by root, the command is root and can leave the namespaces. Run by anyone else,
sudo and other set-uid programs do not gain anything inside.
`
