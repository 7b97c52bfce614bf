package dns

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// system is the host's resolvers.
type system struct {
	servers func() []netip.AddrPort
	options *Options
	health  health

	group sync.WaitGroup // closes of upstreams; Close awaits it

	mu     sync.Mutex
	closed bool
	open   map[netip.AddrPort]Upstream // of the servers that there are
}

// systemTimeout is the default of Options.Timeout here: shorter than the five seconds
// after which the C library asks again, so that the second server gets its turn.
const systemTimeout = 2 * time.Second

// System returns an upstream that asks the host's resolvers over UDP, and over TCP what
// is too long for that, one after the other as Failover does. Servers says who they are
// and is called for each question, because a laptop changes them with its network; it
// must return soon. Default: nil, ResolvConf of /etc/resolv.conf, read again when it
// has changed; Windows has no such file, so there servers are needed. Who puts the Server
// itself into that file gives the servers that were there before.
func System(servers func() []netip.AddrPort, options *Options) Upstream {
	if servers == nil {
		servers = (&confFile{path: resolvConf}).servers
	}
	o := Options{}
	if options != nil {
		o = *options
	}
	set(&o.Timeout, systemTimeout)
	return &system{
		servers: servers, options: o.withDefaults(),
		health: health{bad: make(map[Upstream]time.Time)}, open: make(map[netip.AddrPort]Upstream),
	}
}

func (u *system) String() string { return "system" }

func (u *system) account() []UpstreamStats {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []Upstream
	for _, one := range u.open {
		all = append(all, one)
	}
	return accounts(all)
}

func (u *system) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	return u.health.exchange(ctx, query, u.now())
}

// now returns the upstreams for the servers that there are now, and closes the others.
func (u *system) now() []Upstream {
	servers := u.servers()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	var all []Upstream
	for _, s := range servers {
		one := u.open[s]
		if one == nil {
			t := &target{host: s.Addr().String(), port: s.Port(), options: u.options, addrs: []netip.Addr{s.Addr()}}
			one = newPackets(t)
			u.open[s] = one
		}
		all = append(all, one)
	}
	for s, one := range u.open {
		if !slices.Contains(servers, s) {
			delete(u.open, s)
			u.health.forget(one)
			u.group.Go(func() { _ = one.Close() })
		}
	}
	return all
}

func (u *system) Close() error {
	u.mu.Lock()
	u.closed = true
	var all []Upstream
	for _, one := range u.open {
		all = append(all, one)
	}
	u.mu.Unlock()
	u.group.Wait()
	return closeAll(all)
}

// resolvConf is where a host says which resolvers it asks.
const resolvConf = "/etc/resolv.conf"

// ResolvConf returns the servers that the file at path, a resolv.conf(5), names. Without
// the file, or without a server in it, that is the one on the host's loopback, as the C
// library has it. Zones are kept: a link-local resolver needs its interface.
func ResolvConf(path string) []netip.AddrPort {
	b, _ := os.ReadFile(path)
	return parseResolvConf(b)
}

func parseResolvConf(b []byte) []netip.AddrPort {
	const port = 53
	var servers []netip.AddrPort
	for line := range bytes.Lines(b) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(a.Unmap(), port))
		}
	}
	if len(servers) == 0 {
		servers = append(servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	}
	return servers
}

// confFile is a resolv.conf(5) that is read when it has changed.
type confFile struct {
	path string

	mu       sync.Mutex
	modified time.Time
	size     int64
	read     []netip.AddrPort
}

func (f *confFile) servers() []netip.AddrPort {
	fi, err := os.Stat(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		return parseResolvConf(nil)
	}
	if f.read == nil || !fi.ModTime().Equal(f.modified) || fi.Size() != f.size {
		f.modified, f.size, f.read = fi.ModTime(), fi.Size(), ResolvConf(f.path)
	}
	return f.read
}
