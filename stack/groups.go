package stack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"l3extract/internal/group"
)

// The groups of all hosts (RFC 9776, RFC 9777).
var allHosts4, allHosts6 = netip.AddrFrom4([4]byte{224, 0, 0, 1}), netip.MustParseAddr("ff02::1")

// validateGroups refuses what no host can join.
func validateGroups(groups []netip.Addr) error {
	if len(groups) > group.Max {
		return fmt.Errorf("stack: Config.Groups has %d addresses, may have %d", len(groups), group.Max)
	}
	for i, a := range groups {
		if !a.IsMulticast() || a.Is4In6() || a.Zone() != "" || a.IsInterfaceLocalMulticast() {
			return fmt.Errorf("stack: Config.Groups[%d] is %v, must be a multicast address", i, a)
		}
		if a == allHosts4 || a == allHosts6 {
			return fmt.Errorf("stack: Config.Groups[%d]: every host is in %v, and says so to nobody", i, a)
		}
		if slices.Contains(groups[:i], a) {
			return fmt.Errorf("stack: Config.Groups[%d]: %v is there twice", i, a)
		}
	}
	return nil
}

// newGroups makes the membership in Config.Groups.
func (s *Stack) newGroups() *group.Member {
	cfg := group.Config{
		Groups: s.cfg.Groups, Now: s.cfg.Clock.Now, Uint32: s.cfg.uint32(),
		AfterFunc: func(d time.Duration, f func()) func() bool { return s.cfg.Clock.AfterFunc(d, f).Stop },
	}
	cfg.Send = func(b []byte) { s.link.WriteControl(b) } // what is dropped is counted, and said again
	if cfg.Uint32 == nil {
		cfg.Uint32 = rand.Uint32
	}
	for _, p := range s.cfg.Addrs {
		switch a := p.Addr(); {
		case a.Is4() && !cfg.Own4.IsValid():
			cfg.Own4 = a
		case a.Is6() && (!cfg.Own6.IsValid() || a.IsLinkLocalUnicast()):
			cfg.Own6 = a
		}
	}
	return group.New(cfg)
}
