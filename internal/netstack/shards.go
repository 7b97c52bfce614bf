package netstack

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"syscall"

	"l3extract/internal/link"
	"l3extract/internal/packet"
)

// Shards are several engines that share the connections of one link, so that no two
// processors need the same lock of an engine. Who owns a connection follows from its
// 4-tuple alone, whichever way a packet came. Its methods are Engine's, and may be
// called as Engine's may.
type Shards struct {
	engines []*Engine
	dials   atomic.Uint32
}

// shard is an engine's place among its kind.
type shard struct{ index, count int }

// owns reports whether the connection is one of the engine's.
func (s shard) owns(local, remote netip.AddrPort) bool {
	return s.count <= 1 || shardOf(local, remote, s.count) == s.index
}

// NewShards builds n engines, at least one, of cfg.
func NewShards(n int, cfg Config) (*Shards, error) {
	s := new(Shards)
	free := &ports{seed: maphash.MakeSeed()}
	for i := range max(n, 1) {
		e, err := newEngine(cfg, shard{i, n}, free)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.engines = append(s.engines, e)
	}
	return s, nil
}

// shardOf returns the owner of a connection, 0 to n-1. It is the same for both
// directions. Clients choose whom they burden, but burden no other shard by it.
func shardOf(x, y netip.AddrPort, n int) int {
	hi, _ := bits.Mul64(mix(mixEnd(x)+mixEnd(y)), uint64(n))
	return int(hi)
}

// mixEnd keeps ports with their address: the sum for both ends of a connection is not
// that of its ports, of which one is mostly the same and the other may be always even.
func mixEnd(a netip.AddrPort) uint64 {
	b := a.Addr().As16()
	return mix(binary.BigEndian.Uint64(b[:]) ^ mix(binary.BigEndian.Uint64(b[8:])+uint64(a.Port())<<40))
}

// mix spreads every bit of x over the upper half of the result: the product with the
// golden ratio, folded.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x, 0x9e3779b97f4a7c15)
	return hi ^ lo
}

func (s *Shards) owner(local, remote netip.AddrPort) *Engine {
	if len(s.engines) == 1 {
		return s.engines[0]
	}
	return s.engines[shardOf(local, remote, len(s.engines))]
}

func (s *Shards) ownerOf(p *packet.Packet) *Engine {
	if len(s.engines) == 1 {
		return s.engines[0]
	}
	return s.engines[shardOf(p.DstAddrPort(), p.SrcAddrPort(), len(s.engines))]
}

// Answer is Engine.Answer.
func (s *Shards) Answer(syn *SYN, opt EndpointOptions, done func(*Endpoint, error)) (giveUp func(cause error)) {
	return s.owner(syn.Destination, syn.Source).Answer(syn, opt, done)
}

// Dial is Engine.Dial. With port 0 the engines take turns, and each finds a port that
// makes the connection its own.
func (s *Shards) Dial(ctx context.Context, local, remote netip.AddrPort, opt EndpointOptions) (*Endpoint, error) {
	if local.Port() != 0 {
		return s.owner(local, remote).Dial(ctx, local, remote, opt)
	}
	var ep *Endpoint
	var err error
	first := s.dials.Add(1)
	for i := range s.engines {
		ep, err = s.engines[(first+uint32(i))%uint32(len(s.engines))].Dial(ctx, local, remote, opt)
		if !errors.Is(err, syscall.EADDRNOTAVAIL) { // another engine may have a port left
			break
		}
	}
	return ep, err
}

// DeliverTCP is Engine.DeliverTCP.
func (s *Shards) DeliverTCP(p *packet.Packet) { s.ownerOf(p).DeliverTCP(p) }

// DeliverBuffer is Engine.DeliverBuffer.
func (s *Shards) DeliverBuffer(p *packet.Packet, b link.Buffer) { s.ownerOf(p).DeliverBuffer(p, b) }

// DeliverRun is Engine.DeliverRun: a run is of one connection.
func (s *Shards) DeliverRun(run []*packet.Packet) { s.ownerOf(run[0]).DeliverRun(run) }

// DeliverIP is Engine.DeliverIP. Fragments have no ports, so one engine reassembles
// for all.
func (s *Shards) DeliverIP(p *packet.Packet) { s.engines[0].DeliverIP(p) }

// InFlight is Engine.InFlight.
func (s *Shards) InFlight(local, remote netip.AddrPort, seq uint32) (live, inFlight bool) {
	return s.owner(local, remote).InFlight(local, remote, seq)
}

// DeliverError is Engine.DeliverError.
func (s *Shards) DeliverError(ie packet.ICMPError) { s.owner(ie.Src, ie.Dst).DeliverError(ie) }

// Close closes all engines.
func (s *Shards) Close() {
	for _, e := range s.engines {
		e.Close()
	}
}

// Workers returns how many goroutines the engines keep for incoming segments.
func (s *Shards) Workers() int { return len(s.engines) * s.engines[0].workers }

// Undelivered is Engine.Undelivered of all engines.
func (s *Shards) Undelivered() uint64 { return s.sum((*Engine).Undelivered) }

// FragmentsRefused is Engine.FragmentsRefused of all engines.
func (s *Shards) FragmentsRefused() uint64 { return s.sum((*Engine).FragmentsRefused) }

// ReassembliesLate is Engine.ReassembliesLate of all engines.
func (s *Shards) ReassembliesLate() uint64 { return s.sum((*Engine).ReassembliesLate) }

func (s *Shards) sum(count func(*Engine) uint64) (n uint64) {
	for _, e := range s.engines {
		n += count(e)
	}
	return n
}
