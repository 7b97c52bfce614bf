package datagram

import (
	"fmt"
	"net"
)

// Sizes in bytes.
const (
	// MaxMTU is the largest packet: what fits a UDP datagram over IPv4.
	MaxMTU = 65507
	// DefaultMTU is the largest packet where nothing says how large the path's are:
	// 1500 without the headers of IPv6 and UDP.
	DefaultMTU = 1500 - header6
	// maxPathMTU bounds what is taken from the path: the largest that Ethernet knows,
	// and of the loopback's 64 KiB a few would fill a socket's buffer.
	maxPathMTU = 9000 - header4
	minMTU     = 68
	// DefaultSocketBuffer is 10 ms at 3 Gbit/s.
	DefaultSocketBuffer = 4 << 20

	header4 = 20 + 8
	header6 = 40 + 8
)

// Config is read once; nil and the zero value are the defaults.
type Config struct {
	// Peer is whom a socket of New talks to: a *net.UDPAddr or *net.UnixAddr.
	// Default: whoever sends the first packet; until then a Write is l3conn.ErrDown.
	Peer net.Addr
	// Roam lets the peer change its address: the last one from which a packet came is
	// the peer's. Default: one address for ever.
	Roam bool
	// Admit is asked whether a datagram from a new address, with an IP packet whose
	// length is right, makes that the peer's. It runs on the goroutine that reads, and
	// must not wait nor keep p. Default: it does.
	Admit func(from net.Addr, p []byte) bool
	// MTU is the largest packet written, 68 to MaxMTU, in bytes. Default: what the
	// path to the peer carries in one piece, at most 8972, where the system says so (on
	// Linux); else DefaultMTU.
	MTU int
	// NoOffload leaves runs of datagrams to nobody and takes no 256 KiB for receiving
	// them. Default: UDP_SEGMENT and UDP_GRO, where Linux has them.
	NoOffload bool
	// SocketBuffer is asked of the system for each direction, in bytes. It gives at most
	// net.core.rmem_max and wmem_max on Linux, some 200 KiB, and more to a process with
	// CAP_NET_ADMIN; what comes while the reader is busy and does not fit is lost.
	// Default: 4 MiB. Negative: the system's.
	SocketBuffer int
}

func (c *Config) withDefaults(connected bool) (Config, error) {
	var d Config
	if c != nil {
		d = *c
	}
	if d.SocketBuffer == 0 {
		d.SocketBuffer = DefaultSocketBuffer
	}
	switch {
	case d.MTU != 0 && (d.MTU < minMTU || d.MTU > MaxMTU):
		return d, fmt.Errorf("datagram: Config.MTU %d is not within %d and %d", d.MTU, minMTU, MaxMTU)
	case connected && d.Peer != nil:
		return d, fmt.Errorf("datagram: Config.Peer is %v, and a connected socket has its own", d.Peer)
	case connected && (d.Roam || d.Admit != nil):
		return d, fmt.Errorf("datagram: Config.Roam and Config.Admit are not for a connected socket")
	}
	return d, nil
}
