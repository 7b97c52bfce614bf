package icmp

import (
	"bytes"
	"net"
	"net/netip"
	"syscall"

	"l3extract/internal/drop"
	"l3extract/internal/packet"
)

// Echo is an echo request of a client. Its fields are the receiver's to read, and its
// methods may be called at once; each sends a packet to the client without waiting:
// what the way out has no room for is dropped and counted there.
type Echo struct {
	// Source is the client, Destination what it pinged.
	Source, Destination netip.Addr
	// ID and Seq are what the client tells its pings by.
	ID, Seq uint16
	// TTL is the TTL or hop limit as the request arrived, TOS its type of service or
	// traffic class.
	TTL, TOS uint8
	// Payload is what the reply must carry. It is the Echo's own copy.
	Payload []byte

	acceptor *Acceptor
	fragID   uint16 // of an IPv4 request, which the errors quote
}

func newEcho(a *Acceptor, p *packet.Packet) *Echo {
	return &Echo{
		Source: p.Src, Destination: p.Dst, ID: uint16(p.ICMPRest >> 16), Seq: uint16(p.ICMPRest),
		TTL: p.TTL, TOS: p.TOS, Payload: bytes.Clone(p.Payload), acceptor: a, fragID: uint16(p.FragID),
	}
}

// Reply answers the echo as its destination would: with its payload.
func (e *Echo) Reply() error { return e.ReplyWith(e.Payload, 0) }

// ReplyWith answers with what the destination really sent: that payload, and the TTL
// or hop limit that it has left; 0 is 64. A reply larger than the MTU leaves in
// fragments. It fails with EMSGSIZE when it is larger than an IP packet, and with
// EINVAL when the echo did not go from one host to one.
func (e *Echo) ReplyWith(payload []byte, ttl uint8) error {
	env := &e.acceptor.env
	e.acceptor.settle()
	b := packet.AppendEcho(nil, packet.EchoHeader{
		Src: e.Destination, Dst: e.Source, ID: e.ID, Seq: e.Seq, TTL: ttl, TOS: e.TOS, Reply: true,
	}, payload)
	if len(b) == 0 {
		if len(payload) > 65535-packet.EchoLen-20 {
			return e.opError(syscall.EMSGSIZE)
		}
		return e.opError(syscall.EINVAL)
	}
	id := env.Uint32()
	packet.Identify(b, uint16(id))
	return e.opError(SendPieces(env.Out, b, env.MTU, id, env.Drops))
}

// SendPieces gives the packet b to out, in fragments with this identification if it is
// larger than mtu. It stops at the first that is dropped: the others are of no use
// without it. What cannot be cut is counted, and an error. It is for package stack.
func SendPieces(out Output, b []byte, mtu int, id uint32, drops *drop.Counters) error {
	sent := true
	err := packet.Fragment(b, mtu, id, func(f []byte) { sent = sent && out.WriteControl(f) })
	if err != nil {
		drops.Add(drop.ICMPReplyTooLarge)
	}
	return err
}

// Unreachable tells the client that the echo did not reach its destination:
//
//	ENETUNREACH             net unreachable
//	EACCES, EPERM           administratively prohibited
//	a timeout               nothing, as if the echo had been lost
//	an *Error               that, from whom it names
//	EHOSTUNREACH, any other host unreachable
//
// It comes from the stack's own address, as a router's would, or if the stack has none
// from the destination. What is beyond the rate of the client's source is dropped and
// counted.
func (e *Echo) Unreachable(err error) error {
	f := errorOf(err)
	if f == nil {
		return nil
	}
	return e.Report(f)
}

// TimeExceeded tells the client that the echo's hops came to an end at the router
// from; zero is the stack itself.
func (e *Echo) TimeExceeded(from netip.Addr) error {
	return e.Report(&Error{Kind: TimeExceeded, From: from})
}

// Report passes an ICMP error on to the client, with its own request quoted. A From
// that is zero, loopback or of the other IP version is taken as the stack itself. It
// fails with EINVAL for what cannot be sent.
func (e *Echo) Report(f *Error) error {
	env := &e.acceptor.env
	e.acceptor.settle()
	if !env.AllowError(e.Source) { // asked first: it costs less than the error
		env.Drops.Add(drop.ICMPRate)
		return nil
	}
	quoted := packet.AppendEcho(nil, packet.EchoHeader{
		Src: e.Source, Dst: e.Destination, ID: e.ID, Seq: e.Seq, FragID: e.fragID, TTL: e.TTL, TOS: e.TOS,
	}, e.Payload)
	b := packet.AppendICMPError(nil, e.acceptor.from(f, e.Source, e.Destination), f.Kind, quoted, f.MTU)
	if len(b) == 0 {
		return e.opError(syscall.EINVAL)
	}
	env.Out.WriteControl(b)
	return nil
}

// opError dresses err, if there is one.
func (e *Echo) opError(err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{
		Op: "reply", Net: network,
		Source: &net.IPAddr{IP: e.Destination.AsSlice()}, Addr: &net.IPAddr{IP: e.Source.AsSlice()}, Err: err,
	}
}
