package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/errgroup"

	"l3extract/stack"
)

// zone is what the DNS server knows.
var zone = map[string][]netip.Addr{
	"www.example.":  {netip.MustParseAddr("192.0.2.80"), netip.MustParseAddr("2001:db8::80")},
	"four.example.": {netip.MustParseAddr("192.0.2.4")},
}

// serve starts, in g, what there is behind the link: the DNS server, and at every
// other address somebody who says which one it is.
func serve(ctx context.Context, world *stack.Stack, g *errgroup.Group) error {
	queries, err := world.ListenPacket(ctx, "udp", nameServer.String())
	if err != nil {
		return err
	}
	g.Go(func() error { return serveDNS(queries) })
	streams := world.TCP().Streams() // before the first packet: an acceptor that nobody asks refuses
	g.Go(func() error {
		for st := range streams { // until world ends
			fmt.Fprintf(st, "you found %v", st.Destination())
			st.Close()
		}
		return nil
	})
	return nil
}

// serveDNS answers queries until pc is closed.
func serveDNS(pc net.PacketConn) error {
	buf := make([]byte, 1232)
	for {
		n, client, err := pc.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		reply, err := answer(buf[:n])
		if err != nil {
			continue // no query
		}
		if _, err := pc.WriteTo(reply, client); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}

// answer returns the reply to a query.
func answer(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired},
		Questions: []dnsmessage.Question{q},
	}
	addrs, ok := zone[q.Name.String()]
	if !ok {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addrs {
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			r.Body = &dnsmessage.AResource{A: a.As4()}
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			r.Body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		default:
			continue
		}
		m.Answers = append(m.Answers, r)
	}
	return m.Pack()
}
