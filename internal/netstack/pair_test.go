package netstack

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"l3extract/internal/door"
	"l3extract/internal/drop"
	"l3extract/internal/link"
	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// host is one end of a pipe with the least of a stack around its engines.
type host struct {
	t      *testing.T
	all    *Shards
	engine *Engine // the first
	link   *link.Link
	drops  drop.Counters
	door   *door.Door
	pkt    packet.Packet
	whole  packet.Packet
	syns   chan *SYN
	others chan []byte
}

func (h *host) SYN(p *packet.Packet) {
	syn := &SYN{Raw: append([]byte(nil), p.Raw...), Source: p.SrcAddrPort(), Destination: p.DstAddrPort()}
	select {
	case h.syns <- syn:
	default:
	}
}

func (h *host) Stray(p *packet.Packet) {
	if p.Flags&packet.RST == 0 {
		h.link.WriteControl(packet.AppendReset(nil, p))
	}
}

func (h *host) Reassembled(raw []byte) {
	if c := h.door.Check(&h.whole, raw); c != drop.None {
		h.drops.Add(c)
		return
	}
	if h.whole.Proto == packet.TCP {
		h.all.DeliverTCP(&h.whole)
		return
	}
	select {
	case h.others <- append([]byte(nil), raw...):
	default:
	}
}

func (h *host) deliver(b []byte) {
	switch c := h.door.Check(&h.pkt, b); {
	case c != drop.None:
		h.drops.Add(c)
	case h.pkt.Fragment || h.pkt.Options:
		h.all.DeliverIP(&h.pkt)
	default:
		h.all.DeliverTCP(&h.pkt)
	}
}

func newHost(t *testing.T, conn l3conn.Conn, mtu int) *host {
	t.Helper()
	return newHostOf(t, conn, mtu, 1)
}

func newHostOf(t *testing.T, conn l3conn.Conn, mtu, engines int) *host {
	t.Helper()
	h := &host{t: t, syns: make(chan *SYN, 64), others: make(chan []byte, 64),
		door: door.New(door.Config{VerifyChecksums: true})}
	h.link = link.New(link.Config{Conn: conn, MTU: mtu, Drops: &h.drops, Granted: func() int64 { return 1 << 30 }})
	var err error
	h.all, err = NewShards(engines, Config{
		Link: h.link, Handler: h, Congestion: "reno", TimeWait: time.Second, FinWait2: 5 * time.Second,
		MaxRetries: 8, ReceiveBuffer: 64 << 10, SendBuffer: 64 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.engine = h.all.engines[0]
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		h.link.Read(func(pkts []link.Packet) {
			for _, p := range pkts {
				h.deliver(p.Data)
			}
		})
	})
	wg.Go(func() { h.link.Write(ctx) })
	t.Cleanup(func() {
		h.all.Close()
		h.link.Stop()
		cancel()
		h.link.Unblock(true)
		wg.Wait()
	})
	return h
}

// pair returns two hosts on one pipe. The door between reader and engine of each
// is shut before its engine closes, because the pipe is closed first.
func pair(t *testing.T) (a, b *host) {
	t.Helper()
	x, y := l3conn.Pipe(0, 1500)
	return newHost(t, x, 1500), newHost(t, y, 1500)
}

// established returns both ends of one connection that b dialled.
func established(t *testing.T, a, b *host, client, server netip.AddrPort) (accepted, dialled *Endpoint) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	type result struct {
		ep  *Endpoint
		err error
	}
	done := make(chan result, 1)
	go func() {
		syn := <-a.syns
		ep, err := a.engine.Handshake(ctx, syn, EndpointOptions{})
		done <- result{ep, err}
	}()
	dialled, err := b.engine.Dial(ctx, client, server, EndpointOptions{})
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	r := <-done
	if r.err != nil {
		t.Fatalf("Handshake: %v", r.err)
	}
	return r.ep, dialled
}

// events makes a blocking reader and writer of an Endpoint.
type events chan struct{}

func (e events) Notify(Event) {
	select {
	case e <- struct{}{}:
	default:
	}
}

// blocking waits where an Endpoint would block.
type blocking struct {
	*Endpoint
	wake events
}

func block(ep *Endpoint) *blocking {
	b := &blocking{ep, make(events, 1)}
	ep.SetNotifier(b.wake)
	return b
}

func (b *blocking) Read(p []byte) (int, error) {
	for {
		n, err := b.Endpoint.Read(p)
		if err != ErrWouldBlock {
			return n, err
		}
		<-b.wake
	}
}

func (b *blocking) Write(p []byte) (int, error) {
	total := 0
	for total < len(p) {
		n, err := b.Endpoint.Write(p[total:])
		total += n
		if err == ErrWouldBlock {
			<-b.wake
			continue
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

var _ io.ReadWriter = (*blocking)(nil)
