package dns

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// answer is a response as it is kept: packed once, without id and EDNS, and with the
// question in lower case. It is not changed once it is made.
type answer struct {
	wire     []byte
	question int           // the length of the question's name in it
	ttls     []int         // where TTLs stand
	made     time.Time     // when the TTLs were right; zero: they always are
	ttl      time.Duration // how long it may be given; 0: once
	rcode    int           // with the upper bits, which stand in the OPT record
	info     uint16        // an Extended DNS Error (RFC 8914), plus one; 0: none
	addrs    []netip.Addr  // what it says of the question's name
}

// The size of an OPT record without options, and of the option with an error's code.
const (
	optSize   = 11
	errorSize = 6  // code, length, and the error
	staleTTL  = 30 // seconds: RFC 8767, 5
)

// pack makes an answer of m, whose OPT records are dropped.
func pack(m *dns.Msg) (*answer, error) {
	a := &answer{rcode: m.Rcode}
	m.Id, m.Truncated, m.Compress = 0, false, true
	m.Rcode &= rcodeMask
	kept := m.Extra[:0]
	for _, rr := range m.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			kept = append(kept, rr)
		}
	}
	m.Extra = kept
	wire, err := m.Pack()
	if err != nil {
		return nil, err
	}
	a.wire = wire
	_, off, err := dns.UnpackDomainName(wire, headerSize)
	if err != nil {
		return nil, err
	}
	a.question = off - headerSize
	off += 4
	for range len(m.Answer) + len(m.Ns) + len(m.Extra) {
		if _, off, err = dns.UnpackDomainName(wire, off); err != nil {
			return nil, err
		}
		a.ttls = append(a.ttls, off+4)
		off += 10 + int(binary.BigEndian.Uint16(wire[off+8:]))
	}
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			if v, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				a.addrs = append(a.addrs, v)
			}
		case *dns.AAAA:
			if v, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
				a.addrs = append(a.addrs, v.Unmap())
			}
		}
	}
	return a, nil
}

// size is what it takes in a cache.
func (a *answer) size() int { return len(a.wire) + 8*len(a.ttls) + 24*len(a.addrs) }

// reply is the answer to q at the time now, cut to what q takes. An answer that is past
// its end has the TTLs of a stale one.
func (a *answer) reply(q *query, now time.Time) []byte {
	extra := 0
	if q.edns {
		extra = optSize
		if a.info != 0 {
			extra += errorSize
		}
	}
	if len(a.wire)+extra > q.size {
		return a.truncated(q)
	}
	b := make([]byte, len(a.wire), len(a.wire)+extra)
	copy(b, a.wire)
	if !now.IsZero() && !a.made.IsZero() {
		passed := uint32(max(now.Sub(a.made), 0) / time.Second)
		for _, at := range a.ttls {
			left := binary.BigEndian.Uint32(b[at:])
			if a.ttl > 0 && now.Sub(a.made) >= a.ttl {
				left = staleTTL
			} else {
				left -= min(left, passed)
			}
			binary.BigEndian.PutUint32(b[at:], left)
		}
	}
	return a.finish(b, q, 0)
}

// truncated is the answer that tells q's client to ask over TCP (RFC 2181, 9: what
// records it has are not looked at, so it has none).
func (a *answer) truncated(q *query) []byte {
	end := min(headerSize+a.question+4, len(a.wire))
	b := make([]byte, end, end+optSize+errorSize)
	copy(b, a.wire)
	clear(b[6:headerSize])
	return a.finish(b, q, flagTC)
}

// finish makes b, an answer's wire or its beginning, one for q.
func (a *answer) finish(b []byte, q *query, flags uint16) []byte {
	binary.BigEndian.PutUint16(b, q.id)
	flags |= binary.BigEndian.Uint16(b[2:])&(flagAD|flagAA|rcodeMask) | flagQR | flagRA
	if q.rd {
		flags |= flagRD
	}
	if q.key.cd {
		flags |= flagCD
	}
	if !q.ad && !q.key.do {
		flags &^= flagAD // RFC 6840, 5.7 and 5.8
	}
	binary.BigEndian.PutUint16(b[2:], flags)
	// The name as the client wrote it: some tell answers from forgeries by its case.
	// It is as long in either, or packing fails, and stays in lower case.
	var name [256]byte
	if n, err := dns.PackDomainName(q.asked, name[:], 0, nil, false); err == nil && n == a.question {
		copy(b[headerSize:], name[:n])
	}
	if !q.edns {
		return b
	}
	binary.BigEndian.PutUint16(b[10:], binary.BigEndian.Uint16(b[10:])+1)
	opt := [optSize]byte{0, 0, byte(dns.TypeOPT)}
	binary.BigEndian.PutUint16(opt[3:], DefaultMaxUDPSize)
	opt[5] = byte(a.rcode >> 4)
	if q.key.do {
		opt[7] = 1 << 7
	}
	if a.info == 0 {
		return append(b, opt[:]...)
	}
	opt[10] = errorSize
	b = append(b, opt[:]...)
	b = binary.BigEndian.AppendUint16(b, dns.EDNS0EDE)
	b = binary.BigEndian.AppendUint16(b, 2)
	return binary.BigEndian.AppendUint16(b, a.info-1)
}

// blank is a response to q without records.
func (q *query) blank(rcode int) *dns.Msg {
	return &dns.Msg{
		MsgHdr:   dns.MsgHdr{Response: true, RecursionDesired: true, RecursionAvailable: true, Rcode: rcode},
		Question: []dns.Question{{Name: q.key.name, Qtype: q.key.qtype, Qclass: dns.ClassINET}},
	}
}

// failure is an answer to q that only says rcode, and why, if info is not 0: the code
// of an Extended DNS Error plus one.
func (q *query) failure(rcode int, info uint16) *answer {
	a, err := pack(q.blank(rcode))
	if err != nil { // a name that can be unpacked and not packed: the header has to do
		a = &answer{wire: bare(make([]byte, headerSize), rcode&rcodeMask), rcode: rcode}
	}
	a.info = info
	return a
}

// of is an answer to q with these records.
func (q *query) of(records ...dns.RR) *answer {
	m := q.blank(dns.RcodeSuccess)
	m.Answer = records
	a, err := pack(m)
	if err != nil {
		return q.failure(dns.RcodeServerFailure, 0)
	}
	return a
}

// head is the header of a record about q's name.
func (q *query) head(rrtype uint16, ttl time.Duration) dns.RR_Header {
	return dns.RR_Header{Name: q.key.name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: uint32(ttl / time.Second)}
}
