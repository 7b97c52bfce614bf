package ether

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/ndp"

	"l3extract/l3conn"
)

const (
	// maxBatch is the largest number of packets per ReadBatch.
	maxBatch = 64
	// room is for what makes a frame longer than it should be, so that it is known for
	// what it is: tags of VLANs.
	room = 16
)

// Conn is the gateway of an Ethernet segment, an l3conn.Conn; see the package comment.
// One goroutine may read and any number may write at once; all other methods may be
// called from anywhere at any time. Its errors are the carrier's.
//
// It has a goroutine that writes the gateway's own answers, so that a Read never waits
// for room. What the guests ask is heard by Read and ReadBatch alone: somebody must read.
type Conn struct {
	cfg     Config
	carrier l3conn.Caps
	reader  l3conn.BatchReader
	writer  l3conn.BatchWriter
	began   time.Time
	closing func() error
	closed  atomic.Bool

	own    []netip.Addr   // the gateway's addresses
	local6 netip.Addr     // its link-local one; zero: no IPv6
	nets   []netip.Prefix // of the segment
	many   []netip.Addr   // broadcast addresses

	ra      *ndp.RouterAdvertisement // nil: none
	table   *neighbours
	leases  *leases // nil: no DHCP
	asking  asking
	answers chan []byte // frames, cap maxAnswers; what finds it full is lost and counted
	stop    chan struct{}
	ended   sync.WaitGroup // the goroutine of answers
	defence time.Duration  // the last one; the reader's

	in       reader
	scratch  sync.Pool // of *batch
	counters counters
}

// New returns the gateway of the segment that carrier carries. The carrier is the Conn's
// from then on, and must have a Close. c is copied; a wrong value is an error that names
// the field.
func New(carrier l3conn.Conn, c *Config) (*Conn, error) {
	cfg, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if carrier == nil {
		return nil, errors.New("ether: no carrier")
	}
	e := &Conn{
		cfg: cfg, carrier: l3conn.Probe(carrier), began: time.Now(),
		table:   newNeighbours(cfg.Neighbours, cfg.NeighbourAge),
		answers: make(chan []byte, maxAnswers), stop: make(chan struct{}), defence: -defenceInterval,
	}
	if e.carrier.Closer == nil {
		return nil, errors.New("ether: the carrier cannot be closed")
	}
	if most := e.carrier.MTU(); most > 0 && most < cfg.MTU+headerLen {
		return nil, fmt.Errorf("ether: Config.MTU %d: the carrier has frames of at most %d bytes", cfg.MTU, most)
	}
	e.reader, e.writer = e.carrier.Reader(), e.carrier.Writer()
	e.addresses()
	e.in.init(min(maxBatch, e.reader.BatchSize()), headerLen+room+cfg.MTU)
	e.scratch.New = func() any { return new(batch) }
	if !cfg.RA.Off {
		e.ra = e.routerAdvertisement()
		if _, err := ndp.MarshalMessage(e.ra); err != nil { // nothing else in it can be wrong
			return nil, fmt.Errorf("ether: Config.Domain %q: %w", cfg.Domain, err)
		}
	}
	if !cfg.DHCP.Off {
		e.leases = newLeases(&cfg.DHCP, e.own, e.table)
	}
	e.closing = sync.OnceValue(e.close)
	e.ended.Go(e.answering)
	return e, nil
}

// addresses sorts out what is ours.
func (c *Conn) addresses() {
	for _, p := range c.cfg.Addrs {
		c.own = append(c.own, p.Addr())
		c.nets = append(c.nets, p.Masked())
		if p.Addr().Is4() {
			c.many = append(c.many, lastAddr(p), netip.AddrFrom4([4]byte{255, 255, 255, 255}))
		} else if !c.local6.IsValid() {
			c.local6 = c.cfg.MAC.linkLocal()
		}
	}
	if c.local6.IsValid() {
		c.own = append(c.own, c.local6)
		c.nets = append(c.nets, netip.PrefixFrom(c.local6, 10).Masked())
	}
}

// Addrs returns the gateway's addresses with their networks, also the link-local one:
// those that a Stack on the Conn needs to answer for them.
func (c *Conn) Addrs() []netip.Prefix {
	addrs := slices.Clone(c.cfg.Addrs)
	if c.local6.IsValid() {
		addrs = append(addrs, netip.PrefixFrom(c.local6, 64))
	}
	return addrs
}

// MAC returns the gateway's.
func (c *Conn) MAC() MAC { return c.cfg.MAC }

// now is the time since New.
func (c *Conn) now() time.Duration { return time.Since(c.began) }

// ours reports whether a is an address of the gateway.
func (c *Conn) ours(a netip.Addr) bool { return slices.Contains(c.own, a) }

// onLink reports whether a is in a network of the segment.
func (c *Conn) onLink(a netip.Addr) bool {
	return slices.ContainsFunc(c.nets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Caps implements l3conn.Capper.
func (c *Conn) Caps() l3conn.Caps {
	caps := c.carrier.Control()
	caps.MTUer, caps.Closer = c, io.Closer(c)
	if c.carrier.BatchReader != nil {
		caps.BatchReader = c
	}
	if c.carrier.BatchWriter != nil {
		caps.BatchWriter = c
	}
	caps.Direct = c.carrier.Direct
	return caps
}

// MTU implements l3conn.MTUer; it never changes.
func (c *Conn) MTU() int { return c.cfg.MTU }

// Close closes the carrier and with it ends every call that is blocked. It may be
// called again and returns the same.
func (c *Conn) Close() error { return c.closing() }

func (c *Conn) close() error {
	c.closed.Store(true)
	close(c.stop)
	err := c.carrier.Closer.Close()
	c.ended.Wait()
	return err
}

// errClosed is the error of a call after Close.
func errClosed(op string) error { return &net.OpError{Op: op, Net: "ether", Err: net.ErrClosed} }
