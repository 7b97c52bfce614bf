package netstack

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"syscall"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
)

// The local ports that dials take, Linux' default range.
const (
	firstPort = 32768
	lastPort  = 60999
)

// ports chooses the local ports of dials as RFC 6056, 3.3.3 describes: nobody can
// guess the next one for a destination, and one comes again only after all others.
// The engine's own choice is random, and with no TIME-WAIT a port that comes again
// at once meets what is left of the connection before at the other end. Engines that
// share a link share it; each takes the ports that make a connection its own.
type ports struct {
	seed maphash.Seed
	next atomic.Uint32
}

// bind gives ep the address local, whose port 0 is a free one.
func (p *ports) bind(ep *Endpoint, local, remote netip.AddrPort) error {
	if local.Port() != 0 {
		return bindError(local, ep.ep.Bind(fullAddressOf(local)))
	}
	const n = lastPort - firstPort + 1
	offset := uint32(maphash.Comparable(p.seed, remote))
	for range n {
		at := netip.AddrPortFrom(local.Addr(), uint16(firstPort+(offset+p.next.Add(1))%n))
		if !ep.engine.shard.owns(at, remote) {
			continue
		}
		err := ep.ep.Bind(fullAddressOf(at))
		if _, taken := err.(*gtcpip.ErrPortInUse); !taken {
			return bindError(at, err)
		}
	}
	return fmt.Errorf("bind %v: no free port: %w", local, syscall.EADDRNOTAVAIL)
}

func bindError(at netip.AddrPort, err gtcpip.Error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bind %v: %w", at, translate(err))
}
