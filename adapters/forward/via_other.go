//go:build !linux

package forward

import "net/netip"

// localAddr is not known: a dial in flight runs out of time.
func localAddr(int) netip.Addr { return netip.Addr{} }

// via is not called: there are no pings.
func (s *pingSocket) via() (netip.Addr, int) { return netip.Addr{}, 0 }

// via is not called: there is no upstream.
func (u *upstream) via() (netip.Addr, int) { return netip.Addr{}, 0 }
