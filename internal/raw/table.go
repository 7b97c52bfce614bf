package raw

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// Output takes whole IP packets to the packet conn. WriteDatagram does not wait; b is
// the caller's again on return, and false means that the packet was dropped and
// counted.
type Output interface {
	WriteDatagram(b []byte) bool
}

// Env is what package stack gives to a Table. Fields with a default may be left zero.
type Env struct {
	Out   Output
	Drops *drop.Counters
	// Budget bounds the memory of the whole stack.
	Budget *budget.Budget
	// MTU is the size of the largest packet that the conn carries.
	MTU int
	// Source returns the own address from which a host is reached, or why there is none.
	Source func(to netip.Addr) (netip.Addr, error)
	// Uint32 returns random numbers for fragment IDs. Default: the runtime's.
	Uint32 func() uint32
}

// Table finds the conns that a packet is for. All methods may be called at once.
type Table struct {
	env Env
	// some tells the reader, without a lock, that there is a conn at all.
	some atomic.Bool

	mu    sync.Mutex
	conns map[key][]*Conn
	err   error // of the end; nil while the table lives
}

// key is what a conn listens for.
type key struct {
	v6    bool
	proto uint8
}

// NewTable returns an empty table.
func NewTable(env Env) *Table {
	if env.Uint32 == nil {
		env.Uint32 = rand.Uint32
	}
	return &Table{env: env, conns: make(map[key][]*Conn)}
}

// Listen opens a conn for a protocol. An unspecified local address stands for all own
// addresses of its family. TCP and UDP are not to be had: EPROTONOSUPPORT.
func (t *Table) Listen(network string, local netip.Addr, proto uint8) (*Conn, error) {
	k := key{local.Is6(), proto}
	switch {
	case proto == packet.TCP, proto == packet.UDP, k.v6 && proto == packet.ICMPv4, !k.v6 && proto == packet.ICMPv6:
		return nil, syscall.EPROTONOSUPPORT
	}
	c := newConn(t, network, local, k)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return nil, t.err
	}
	t.conns[k] = append(t.conns[k], c)
	t.some.Store(true)
	return c, nil
}

// Wants reports whether a packet of this protocol may have a conn.
func (t *Table) Wants(p *packet.Packet) bool {
	return t.some.Load() && len(t.find(p)) > 0
}

// HandlePacket gives a whole packet to the conns that it is for, on the goroutine
// that reads the conn of the stack, and reports whether there is one.
func (t *Table) HandlePacket(p *packet.Packet) bool {
	if !t.some.Load() {
		return false
	}
	found := false
	for _, c := range t.find(p) {
		if c.takes(p.Dst) {
			found = true
			c.enqueue(p)
		}
	}
	return found
}

// find returns the conns of p's protocol. The slice is never changed.
func (t *Table) find(p *packet.Packet) []*Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conns[key{p.Version == 6, p.Proto}]
}

func (t *Table) remove(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(t.conns[c.key]), func(x *Conn) bool { return x == c })
	if t.conns[c.key] = left; len(left) == 0 {
		delete(t.conns, c.key)
	}
	t.some.Store(len(t.conns) > 0)
}

// Close ends all conns, and every Listen from now on, with err.
func (t *Table) Close(err error) {
	t.mu.Lock()
	if t.err == nil {
		t.err = err
	}
	var all []*Conn
	for _, conns := range t.conns {
		all = append(all, conns...)
	}
	t.mu.Unlock()
	for _, c := range all {
		c.end(err)
	}
}
