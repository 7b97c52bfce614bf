package tcp

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"syscall"

	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

// answer is how a SYN is refused.
type answer uint8

const (
	silence         answer = iota // the client waits until its own time-out
	reset                         // RST: connection refused
	hostUnreachable               // ICMP 3/1, ICMPv6 1/3
	netUnreachable                // ICMP 3/0, ICMPv6 1/0
	prohibited                    // ICMP 3/13, ICMPv6 1/1
)

// answerTo turns the reason of a rejection into what the client is told.
func answerTo(err error) answer {
	switch {
	case errors.Is(err, syscall.EHOSTUNREACH):
		return hostUnreachable
	case errors.Is(err, syscall.ENETUNREACH):
		return netUnreachable
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return prohibited
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT):
		return silence
	}
	return reset // ECONNREFUSED, nil, and whatever has no answer of its own
}

// maxSYN bounds a SYN that is kept, in bytes: 60 of IP header, 60 of TCP, and
// room for the data of a client that sends some with its SYN.
const maxSYN = 1280

// keepSYN returns a copy of p that the engine takes: without IP options,
// extension headers and fragment headers, which no connection needs.
func keepSYN(p *packet.Packet) []byte {
	if !p.Options {
		return append([]byte(nil), p.Raw...)
	}
	if p.Version == 4 {
		b := append(append(make([]byte, 0, 20+len(p.L4)), p.Raw[:20]...), p.L4...)
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[10:], 0)
		binary.BigEndian.PutUint16(b[10:], ^packet.Checksum(b[:20], 0))
		return b
	}
	b := append(append(make([]byte, 0, 40+len(p.L4)), p.Raw[:40]...), p.L4...)
	b[6] = packet.TCP
	binary.BigEndian.PutUint16(b[4:], uint16(len(p.L4)))
	return b
}

// answers holds memory for one answer: an ICMPv6 error fills it. What comes out
// goes back when the answer was given to the link.
var answers = sync.Pool{New: func() any { return new([1280]byte) }}

// send answers the SYN p with a; silence sends nothing. The answer comes from
// the address that the client dialled. It never waits.
func (e *Env) sendAnswer(p *packet.Packet, a answer) {
	if a == silence {
		return
	}
	buf := answers.Get().(*[1280]byte)
	defer answers.Put(buf)
	b := buf[:0]
	switch a {
	case hostUnreachable:
		b = packet.AppendICMPError(b, p.Dst, packet.HostUnreachable, p.Raw, 0)
	case netUnreachable:
		b = packet.AppendICMPError(b, p.Dst, packet.NetUnreachable, p.Raw, 0)
	case prohibited:
		b = packet.AppendICMPError(b, p.Dst, packet.AdminProhibited, p.Raw, 0)
	default:
		b = packet.AppendReset(b, p)
	}
	if len(b) > 0 {
		e.Out.WriteControl(b) // a full queue drops and counts it: the client asks again
	}
}

// sendAnswerTo is sendAnswer for a SYN that was kept.
func (e *Env) sendAnswerTo(syn []byte, a answer) {
	var p packet.Packet
	if a != silence && p.Decode(syn) == drop.None {
		e.sendAnswer(&p, a)
	}
}

// Reject refuses the request: see Stream.Reject. The first of Reject and
// Answer counts, but a Reject of a handshake under way ends that.
func (r *request) Reject(err error) {
	t, a := r.table, answerTo(err)
	t.mu.Lock()
	switch r.state {
	case answering:
		giveUp := r.toGiveUp(nil, errGivenUp)
		t.mu.Unlock()
		for _, f := range giveUp {
			f(errGivenUp)
		}
		return
	case undecided:
	default:
		t.mu.Unlock()
		return
	}
	syn := r.syn
	r.err = errGivenUp
	t.rememberLocked(r, a)
	t.mu.Unlock()
	t.handshakes.Release(r.src.Addr(), r.dst)
	if errors.Is(err, flow.Shutdown) {
		t.env.Drops.Add(drop.AcceptorClosed)
	} else {
		t.env.Drops.Add(drop.Rejected)
	}
	t.env.sendAnswerTo(syn, a)
}
