package tun

import (
	"fmt"
	"net/netip"
	"strings"
)

// Limits of an interface, in bytes. MinMTU is RFC 791's, MinMTU6 RFC 8200's.
const (
	MinMTU  = 68
	MinMTU6 = 1280
	MaxMTU  = 65535
	// maxName is Linux's and the BSDs' IFNAMSIZ without the final zero.
	maxName = 15
)

// Config says how Open makes the interface. nil and the zero value give a fresh
// one with a name of the system's choice, up, without addresses.
type Config struct {
	// Name is the interface's, at most 15 bytes. On Linux a %d in it stands
	// for the first free number; on macOS it is utun or utun and a number. An
	// existing TUN interface of that name that nobody has open is taken as it
	// is. Default: the system chooses.
	Name string
	// MTU is the largest packet in bytes, 68 to 65535, and at least 1280 with
	// an IPv6 address or route. Default: the interface's own, for a fresh one 1500.
	MTU int
	// Addrs are given to the interface; the host owns them and reaches the
	// rest of each prefix through it. Linux only.
	Addrs []netip.Prefix
	// Routes lead through the interface; 0.0.0.0/0 and ::/0 are the default
	// routes. Linux only.
	Routes []netip.Prefix
	// LeaveDown leaves the up flag alone; it excludes Routes. Default: the
	// interface is up when Open returns. On other systems than Linux the
	// system's tool sets the flag with the address.
	LeaveDown bool
	// Persist keeps the interface after Close, until it is deleted. Linux
	// only. Default: Close deletes an interface that Open made.
	Persist bool
	// NoOffload makes a plain conn. Default: on Linux packets have a
	// virtio-net header between kernel and Device, and l3conn.Probe finds an
	// l3conn.Offloader; until somebody enables that, the Device is as any other.
	NoOffload bool
	// MultiQueue opens one queue of an interface that may have several, each
	// opened by the same Name with MultiQueue, here or in another process; see
	// OpenQueues. Linux only. Default: the interface has one queue.
	MultiQueue bool
	// QueueLength is how many packets the kernel keeps for the Device to read
	// (txqueuelen) before it drops further ones. Linux only. Default: 8192, if the
	// interface has the kernel's own 500, which one burst of cut segments overflows,
	// and if that may be set. Negative: as it is.
	QueueLength int
	// NetNS names the network namespace of the interface: a path such as
	// /run/netns/blue or /proc/1234/ns/net, for an open file
	// /proc/self/fd/N. The Device works from any namespace. Linux only.
	// Default: the caller's.
	NetNS string
}

// validate checks what can be known without the system.
func (c *Config) validate() error {
	if err := validName(c.Name); err != nil {
		return err
	}
	v6 := false
	for _, f := range []struct {
		field    string
		prefixes []netip.Prefix
	}{{"Addrs", c.Addrs}, {"Routes", c.Routes}} {
		for _, p := range f.prefixes {
			switch {
			case !p.IsValid():
				return fmt.Errorf("tun: Config.%s: invalid prefix %v", f.field, p)
			case p.Addr().Is4In6():
				return fmt.Errorf("tun: Config.%s: %v is an IPv4-mapped address", f.field, p)
			}
			v6 = v6 || p.Addr().Is6()
		}
	}
	switch {
	case c.LeaveDown && len(c.Routes) > 0:
		return fmt.Errorf("tun: Config.Routes need an interface that is up, Config.LeaveDown is set")
	case c.MTU == 0:
	case c.MTU < MinMTU || c.MTU > MaxMTU:
		return fmt.Errorf("tun: Config.MTU %d is not within %d and %d", c.MTU, MinMTU, MaxMTU)
	case c.MTU < MinMTU6 && v6:
		return fmt.Errorf("tun: Config.MTU %d is below %d, which IPv6 in Addrs or Routes needs", c.MTU, MinMTU6)
	}
	return nil
}

// validName keeps to the kernel's rules, so that the error names the reason.
func validName(name string) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("tun: Config.Name %q is longer than %d bytes", name, maxName)
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r\x00"):
		return fmt.Errorf("tun: Config.Name %q is no name for an interface", name)
	case strings.Count(name, "%") > 1 || strings.Contains(name, "%") && !strings.Contains(name, "%d"):
		return fmt.Errorf("tun: Config.Name %q: the only %% may be in %%d", name)
	}
	return nil
}
