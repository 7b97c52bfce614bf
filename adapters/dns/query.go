package dns

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

const (
	headerSize = 12
	// The longest query that is read over a connection. One with a name of 255 bytes
	// and every option that clients send has less than half.
	maxQuery = 4096
)

// query is a client's query, read and judged.
type query struct {
	id       uint16
	asked    string // the name as the client wrote it, with its case
	key      key
	route    route
	rd, ad   bool
	edns     bool
	size     int  // the largest answer that it takes
	datagram bool // it came over UDP
	source   netip.Addr
}

// key is what makes two queries equal.
type key struct {
	name   string // canonical: lower case, with the final dot
	qtype  uint16
	do, cd bool
	route  uint64 // see route.id
}

// Bits of the second 16 of a header (RFC 1035 4.1.1, RFC 4035 3.2).
const (
	flagQR = 1 << 15
	flagAA = 1 << 10
	flagTC = 1 << 9
	flagRD = 1 << 8
	flagRA = 1 << 7
	flagAD = 1 << 5
	flagCD = 1 << 4

	opcodeShift = 11
	opcodeMask  = 0xf
	rcodeMask   = 0xf
)

// readQuery reads a query of source. If it is none that can be answered it returns the
// refusal to send instead, or neither for what is to be ignored.
func (s *Server) readQuery(p []byte, source netip.Addr, datagram bool) (*query, []byte) {
	if len(p) < headerSize {
		s.stats.malformed.Add(1)
		return nil, nil
	}
	bits := binary.BigEndian.Uint16(p[2:])
	if bits&flagQR != 0 { // two servers that answer each other's answers would never end
		s.stats.malformed.Add(1)
		return nil, nil
	}
	if bits>>opcodeShift&opcodeMask != dns.OpcodeQuery {
		s.stats.refused.Add(1)
		return nil, bare(p, dns.RcodeNotImplemented)
	}
	var m dns.Msg
	counts := [3]uint16{binary.BigEndian.Uint16(p[4:]), binary.BigEndian.Uint16(p[6:]), binary.BigEndian.Uint16(p[8:])}
	if counts != [3]uint16{1, 0, 0} || len(p) > maxQuery || m.Unpack(p) != nil || len(m.Question) != 1 {
		s.stats.malformed.Add(1)
		return nil, bare(p, dns.RcodeFormatError)
	}
	asked := m.Question[0]
	q := &query{
		id: m.Id, asked: asked.Name, rd: m.RecursionDesired, ad: m.AuthenticatedData,
		key:  key{name: dns.CanonicalName(asked.Name), qtype: asked.Qtype, cd: m.CheckingDisabled},
		size: dns.MaxMsgSize, datagram: datagram, source: unmapped(source),
	}
	if datagram {
		q.size = dns.MinMsgSize
	}
	var options int
	for _, rr := range m.Extra {
		opt, ok := rr.(*dns.OPT)
		if !ok {
			continue
		}
		options++
		q.edns, q.key.do = true, opt.Do()
		if opt.Version() != 0 {
			s.stats.refused.Add(1)
			return nil, q.failure(dns.RcodeBadVers, 0).reply(q, time.Time{})
		}
		if datagram {
			q.size = min(max(int(opt.UDPSize()), dns.MinMsgSize), s.cfg.MaxUDPSize)
		}
	}
	if options > 1 {
		s.stats.malformed.Add(1)
		return nil, bare(p, dns.RcodeFormatError)
	}
	if asked.Qclass != dns.ClassINET || meta(asked.Qtype) {
		s.stats.refused.Add(1)
		return nil, bare(p, dns.RcodeRefused)
	}
	q.route = s.rules.Load().find(q.key.name)
	q.key.route = q.route.id
	return q, nil
}

// meta tells of the types that are no data: zone transfers and what cannot be asked.
func meta(t uint16) bool {
	switch t {
	case dns.TypeNone, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILA, dns.TypeMAILB:
		return true
	}
	return false
}

// bare is the answer to a query of which nothing but the header is believed.
func bare(p []byte, rcode int) []byte {
	b := make([]byte, headerSize)
	copy(b, p[:2])
	bits := binary.BigEndian.Uint16(p[2:])&(opcodeMask<<opcodeShift|flagRD|flagCD) | flagQR | flagRA | uint16(rcode)
	binary.BigEndian.PutUint16(b[2:], bits)
	return b
}

// upstreamQuery is what an upstream is asked for k: a message of our own, so that
// nothing of the client's goes on but the question, DO and CD.
func upstreamQuery(k key) ([]byte, error) {
	m := dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: uint16(rand.Uint32()), RecursionDesired: true, AuthenticatedData: true, CheckingDisabled: k.cd},
		Question: []dns.Question{{Name: k.name, Qtype: k.qtype, Qclass: dns.ClassINET}},
	}
	m.SetEdns0(DefaultMaxUDPSize, k.do)
	return m.Pack()
}
