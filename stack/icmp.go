package stack

import (
	"context"
	"net/netip"

	"l3extract/icmp"
	"l3extract/internal/drop"
	"l3extract/internal/limit"
	"l3extract/internal/packet"
)

const (
	// errorQueue is how many believed ICMP errors may wait for the engine. They
	// are rare; more at once is a flood.
	errorQueue = 64
	// errorRate and errorBurst bound the ICMP errors that are looked at from one
	// source, and those that are sent to one, per second: a router that reports for a
	// thousand flows is heard, and a port scan of a few hosts looks right (RFC 1812
	// 4.3.2.8, RFC 4443 2.4).
	errorRate  = 100
	errorBurst = 100
)

// Least MTU that a "packet too big" may ask for: RFC 1122 3.3.3 and RFC 8201 4.
// Below it the engine would send segments of a few bytes for ever.
const (
	leastPathMTU4 = 576
	leastPathMTU6 = 1280
)

// icmpSide answers pings, reports what cannot be delivered, and filters ICMP errors
// (RFC 5927).
type icmpSide struct {
	stack    *Stack
	own      map[netip.Addr]bool
	acceptor *icmp.Acceptor
	errors   chan packet.ICMPError // to the control goroutine; full: dropped and counted
	in, out  *limit.Rate           // of errors
	reply    []byte                // scratch of the reader
}

func (c *icmpSide) init(s *Stack) {
	c.stack = s
	c.own = make(map[netip.Addr]bool, len(s.cfg.Addrs))
	for _, p := range s.cfg.Addrs {
		c.own[p.Addr()] = true
	}
	c.errors = make(chan packet.ICMPError, errorQueue)
	c.in = limit.NewRate(errorRate, errorBurst, s.cfg.SourceKey)
	c.out = limit.NewRate(errorRate, errorBurst, s.cfg.SourceKey)
	c.acceptor = icmp.NewAcceptor(icmp.Env{
		Out: s.link, Drops: &s.drops, Budget: s.budget, Queue: s.cfg.ICMP.EchoQueue, MTU: s.cfg.MTU,
		Source: c.source, SourceKey: s.cfg.SourceKey, AllowError: c.mayReport,
		Now: s.cfg.Clock.Now, Uint32: s.cfg.uint32(),
	})
}

// source returns the own address that reports to client, zero if there is none.
func (c *icmpSide) source(client netip.Addr) netip.Addr {
	a, _ := c.stack.source(client) // zero with an error
	return a
}

// HopAddr returns the own address from which the Stack reports to client that the hops
// of a packet came to an end here; hop is false when it is no hop for that client,
// because it is Transparent or has no address of the family. Whoever sends a client's
// packet on behind a Stack that is one sends it with one hop less.
func (s *Stack) HopAddr(client netip.Addr) (addr netip.Addr, hop bool) {
	if !s.cfg.ICMP.Transparent {
		addr = s.icmp.source(client)
	}
	return addr, addr.IsValid()
}

// mayReport is the rate of the errors that are sent to an address.
func (c *icmpSide) mayReport(to netip.Addr) bool { return c.out.Allow(to, c.stack.cfg.Clock.Now()) }

// report sends an ICMP error about p to its source, unless it must not be answered.
func (c *icmpSide) report(from netip.Addr, kind packet.Unreachable, p *packet.Packet) {
	if p.IsICMPError() {
		return
	}
	if !c.mayReport(p.Src) { // asked first: it costs less than the error
		c.stack.drops.Add(drop.ICMPRate)
		return
	}
	c.reply = packet.AppendICMPError(c.reply[:0], from, kind, p.Raw, 0)
	if len(c.reply) > 0 {
		c.stack.link.WriteControl(c.reply)
	}
}

// expired deals with a packet whose hops end here, if the Stack is one: a router
// looks at that before anything else. It reports whether the packet is done with.
func (c *icmpSide) expired(p *packet.Packet) bool {
	if c.own[p.Dst] || c.stack.door.ToMany(p.Dst) {
		return false
	}
	from, hop := c.stack.HopAddr(p.Src)
	if !hop {
		return false
	}
	c.stack.drops.Add(drop.TTLExpired)
	c.report(from, packet.TimeExceeded, p)
	return true
}

// unknown deals with a packet of a protocol that is neither TCP, UDP nor ICMP: a raw
// conn has it, or nobody.
func (c *icmpSide) unknown(p *packet.Packet) {
	if !p.Fragment && c.own[p.Dst] && c.stack.raw.HandlePacket(p) {
		return
	}
	c.stack.drops.Add(drop.UnknownProtocol)
	c.report(p.Dst, packet.ProtocolUnreachable, p)
}

// handle takes a whole ICMP packet on the reader.
func (c *icmpSide) handle(p *packet.Packet) {
	switch {
	case p.IsEchoRequest():
		c.echo(p)
		return
	case p.IsICMPError():
		c.fault(p)
	}
	// A raw conn sees everything but what is answered here.
	raw := c.own[p.Dst] && c.stack.raw.HandlePacket(p)
	if !raw && !p.IsICMPError() {
		// Router solicitations, MLD and IGMP of a kernel behind a TUN are daily
		// noise; echo replies without a request are, too.
		c.stack.drops.Add(drop.ICMPUnhandled)
	}
}

// echo answers pings to our own addresses, and treats others as configured.
func (c *icmpSide) echo(p *packet.Packet) {
	if !c.own[p.Dst] {
		switch {
		case c.stack.door.ToMany(p.Dst), c.stack.cfg.ICMP.Echo == EchoOff:
			c.stack.drops.Add(drop.EchoOff)
			return
		case c.stack.cfg.ICMP.Echo == EchoForward:
			c.acceptor.HandlePacket(p)
			return
		}
	}
	c.reply = packet.AppendEchoReply(c.reply[:0], p)
	if len(c.reply) == 0 {
		return
	}
	// What cannot be cut is counted; it has come in pieces, so mostly it can.
	_ = icmp.SendPieces(c.stack.link, c.reply, c.stack.cfg.MTU, p.FragID, &c.stack.drops)
}

// fault judges an ICMP error: only one that quotes what we may really have sent
// reaches anybody.
func (c *icmpSide) fault(p *packet.Packet) {
	drops := &c.stack.drops
	e, ok := packet.ParseICMPError(p)
	if !ok {
		drops.Add(drop.ICMPMalformed)
		return
	}
	if !c.in.Allow(p.Src, c.stack.cfg.Clock.Now()) {
		drops.Add(drop.ICMPRate)
		return
	}
	switch e.Proto {
	case packet.UDP:
		c.stack.udp.table.HandleError(e)
	case packet.TCP:
		if cause := c.believe(e); cause != drop.None {
			drops.Add(cause)
			return
		}
		select {
		case c.errors <- e:
		default:
			drops.Add(drop.ICMPQueueFull)
		}
	case packet.ICMPv4, packet.ICMPv6:
		// About a ping or another packet of a raw conn, which sees it next.
		if !c.own[p.Dst] || !c.stack.raw.Wants(p) {
			drops.Add(drop.ICMPNoFlow)
		}
	default:
		drops.Add(drop.ICMPNoFlow)
	}
}

// believe applies RFC 5927 to an error about TCP.
func (c *icmpSide) believe(e packet.ICMPError) drop.Cause {
	live, inFlight := c.stack.engine.Load().InFlight(e.Src, e.Dst, e.Seq)
	switch {
	case !live:
		return drop.ICMPNoFlow
	case !inFlight:
		return drop.ICMPSequence
	}
	if e.Kind == packet.TooBig {
		least := leastPathMTU4
		if e.Src.Addr().Is6() {
			least = leastPathMTU6
		}
		if e.MTU < least || e.MTU >= c.stack.cfg.MTU {
			return drop.ICMPMTU
		}
	}
	return drop.None
}

// run is the control goroutine: it hands believed errors to the engine, whose
// endpoint locks the reader must not wait for.
func (c *icmpSide) run(ctx context.Context) {
	for {
		select {
		case e := <-c.errors:
			c.stack.engine.Load().DeliverError(e)
		case <-ctx.Done():
			return
		}
	}
}
