package stack

import (
	"context"
	"hash/maphash"
	"net/netip"
	"time"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

const (
	// errorQueue is how many believed ICMP errors may wait for the engine. They
	// are rare; more at once is a flood.
	errorQueue = 64
	// errorRate and errorBurst bound the ICMP errors that are looked at from one
	// source, per second: a router that reports for a thousand flows is heard.
	errorRate  = 100
	errorBurst = 100
	// errorSources is the number of buckets. Sources that share one share its
	// rate, so memory is bounded whatever addresses are forged.
	errorSources = 256
)

// Least MTU that a "packet too big" may ask for: RFC 1122 3.3.3 and RFC 8201 4.
// Below it the engine would send segments of a few bytes for ever.
const (
	leastPathMTU4 = 576
	leastPathMTU6 = 1280
)

// icmpSide answers pings and filters ICMP errors (RFC 5927).
type icmpSide struct {
	stack   *Stack
	own     map[netip.Addr]bool
	errors  chan packet.ICMPError // to the control goroutine; full: dropped and counted
	seed    maphash.Seed
	buckets [errorSources]bucket // used by the reader only
	reply   []byte               // scratch of the reader
}

// bucket is a token bucket.
type bucket struct {
	tokens float64
	last   time.Time
}

// take removes a token if there is one.
func (b *bucket) take(now time.Time) bool {
	if b.last.IsZero() {
		b.tokens = errorBurst
	} else {
		b.tokens = min(errorBurst, b.tokens+now.Sub(b.last).Seconds()*errorRate)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (c *icmpSide) init(s *Stack) {
	c.stack = s
	c.own = make(map[netip.Addr]bool, len(s.cfg.Addrs))
	for _, p := range s.cfg.Addrs {
		c.own[p.Addr()] = true
	}
	c.errors = make(chan packet.ICMPError, errorQueue)
	c.seed = maphash.MakeSeed()
}

// handle takes a whole ICMP packet on the reader.
func (c *icmpSide) handle(p *packet.Packet) {
	switch {
	case p.IsEchoRequest():
		c.echo(p)
	case p.IsICMPError():
		c.fault(p)
	default:
		// Router solicitations, MLD and IGMP of a kernel behind a TUN are daily
		// noise; echo replies without a request are, too.
		c.stack.drops.Add(drop.ICMPUnhandled)
	}
}

// echo answers pings to our own addresses, and to others if so configured.
func (c *icmpSide) echo(p *packet.Packet) {
	if !c.own[p.Dst] && (c.stack.cfg.ICMP.Echo != EchoLocal || p.Dst.IsMulticast()) {
		c.stack.drops.Add(drop.EchoOff)
		return
	}
	c.reply = packet.AppendEchoReply(c.reply[:0], p)
	if len(c.reply) > c.stack.cfg.MTU {
		c.stack.drops.Add(drop.ICMPReplyTooLarge)
		return
	}
	c.stack.link.WriteControl(c.reply)
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
	if !c.bucket(p.Src).take(c.stack.cfg.Clock.Now()) {
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

func (c *icmpSide) bucket(src netip.Addr) *bucket {
	key := c.stack.cfg.SourceKey(src)
	return &c.buckets[maphash.Comparable(c.seed, key)%errorSources]
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
