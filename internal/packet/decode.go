package packet

import (
	"encoding/binary"
	"net/netip"

	"l3extract/internal/drop"
)

// Decode reads one IP packet from b and returns [drop.None] when it is well formed,
// else what is wrong with it. It checks every length, the options and extension
// headers, the transport header, ports and flags; it does not check checksums (see
// [Packet.ChecksumOK]) nor addresses. Bytes behind the IP header's total length are
// legal padding and cut.
//
// After [drop.UnknownProtocol] everything up to L4 is valid, so that an answer can
// be built; after any other cause nothing in p may be relied upon.
func (p *Packet) Decode(b []byte) drop.Cause {
	*p = Packet{}
	if len(b) == 0 {
		return drop.Short
	}
	switch b[0] >> 4 {
	case 4:
		return p.decode4(b)
	case 6:
		return p.decode6(b)
	}
	return drop.Version
}

func (p *Packet) decode4(b []byte) drop.Cause {
	if len(b) < v4HeaderLen {
		return drop.Short
	}
	header := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case header < v4HeaderLen || header > len(b):
		return drop.HeaderLength
	case total < header || total > len(b):
		return drop.TotalLength
	}
	p.Raw = b[:total:total]
	p.Version = 4
	p.TOS = b[1]
	p.TTL = b[8]
	p.Proto = b[9]
	p.Src = netip.AddrFrom4([4]byte(b[12:16]))
	p.Dst = netip.AddrFrom4([4]byte(b[16:20]))
	p.FragID = uint32(binary.BigEndian.Uint16(b[4:]))
	p.HeaderLen = header
	p.L4 = p.Raw[header:]
	if header > v4HeaderLen {
		p.Options = true
		if c := checkOptions4(b[v4HeaderLen:header]); c != drop.None {
			return c
		}
	}
	if frag := binary.BigEndian.Uint16(b[6:]); frag&0x3fff != 0 {
		p.Fragment = true
		p.MoreFragments = frag&0x2000 != 0
		p.FragOffset = int(frag&0x1fff) * 8
		if c := p.checkFragment(header); c != drop.None {
			return c
		}
	}
	return p.decodeTransport()
}

// checkOptions4 walks the options of an IPv4 header (RFC 791 3.1). Source routes
// are refused as every kernel does by default: they carry a packet around whatever
// the destination address made a filter believe.
func checkOptions4(b []byte) drop.Cause {
	for len(b) > 0 {
		switch b[0] {
		case 0: // end of options
			return drop.None
		case 1: // no operation
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return drop.BadExtension
		}
		if b[0] == 131 || b[0] == 137 { // loose, strict source route
			return drop.SourceRoute
		}
		b = b[b[1]:]
	}
	return drop.None
}

func (p *Packet) decode6(b []byte) drop.Cause {
	if len(b) < v6HeaderLen {
		return drop.Short
	}
	total := v6HeaderLen + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return drop.TotalLength
	}
	p.Raw = b[:total:total]
	p.Version = 6
	p.TOS = b[0]<<4 | b[1]>>4
	p.TTL = b[7]
	p.Proto = b[6]
	p.Src = netip.AddrFrom16([16]byte(b[8:24]))
	p.Dst = netip.AddrFrom16([16]byte(b[24:40]))
	p.HeaderLen = v6HeaderLen
	if isExtension(p.Proto) {
		var c chain
		cause := c.walk(p.Raw)
		p.Proto = c.proto
		p.HeaderLen = c.off
		p.Options = true
		p.Fragment = c.fragment
		p.MoreFragments = c.more
		p.FragOffset = c.fragOffset
		p.FragID = c.fragID
		if cause != drop.None {
			return cause
		}
		p.L4 = p.Raw[c.off:]
		if p.Fragment {
			// What is whole again does not have the 8 bytes of the fragment header, and
			// its payload length does not count the IPv6 header.
			if cause := p.checkFragment(c.fragAt - v6HeaderLen); cause != drop.None {
				return cause
			}
		}
	}
	p.L4 = p.Raw[p.HeaderLen:]
	return p.decodeTransport()
}

// checkFragment checks what both IP versions demand of a fragment whose data would
// follow ahead bytes in the length field of the reassembled packet.
func (p *Packet) checkFragment(ahead int) drop.Cause {
	// In a first IPv6 fragment, data also is what extension headers hold.
	data := len(p.L4)
	if p.Version == 6 {
		data = len(p.Raw) - v6HeaderLen - ahead - fragmentHeaderLen
	}
	switch {
	case data == 0,
		p.MoreFragments && data%8 != 0,
		ahead+p.FragOffset+data > maxPacket:
		return drop.FragmentLength
	case p.FragOffset > 0 && p.Proto == TCP && p.FragOffset < tcpHeaderLen:
		// It would overwrite ports or flags that were already judged (RFC 1858, 3128).
		return drop.TinyFragment
	}
	return drop.None
}

// decodeTransport reads the transport header. Fragments behind the first have none.
func (p *Packet) decodeTransport() drop.Cause {
	if p.Fragment && p.FragOffset > 0 {
		if p.Version == 6 && isExtension(p.Proto) && p.Proto != noNextHeader {
			return drop.None // the fragmentable part may begin with extension headers
		}
		if !p.knownProtocol() {
			return drop.UnknownProtocol
		}
		return drop.None
	}
	switch {
	case !p.knownProtocol():
		return drop.UnknownProtocol
	case p.Proto == TCP:
		return p.decodeTCP()
	case p.Proto == UDP:
		return p.decodeUDP()
	}
	return p.decodeICMP()
}

func (p *Packet) knownProtocol() bool {
	switch p.Proto {
	case TCP, UDP:
		return true
	case ICMPv4:
		return p.Version == 4
	case ICMPv6:
		return p.Version == 6
	}
	return false
}

// truncated is the cause of a header that is not all there: an attack on filters
// when it was cut by fragmentation (RFC 1858, RFC 8200 4.5), else a bad length.
func (p *Packet) truncated() drop.Cause {
	if p.Fragment {
		return drop.TinyFragment
	}
	return drop.L4Length
}

func (p *Packet) decodeTCP() drop.Cause {
	b := p.L4
	if len(b) < tcpHeaderLen {
		return p.truncated()
	}
	header := int(b[12]>>4) * 4
	if header < tcpHeaderLen {
		return drop.L4Length
	}
	if header > len(b) {
		return p.truncated()
	}
	p.SrcPort = binary.BigEndian.Uint16(b)
	p.DstPort = binary.BigEndian.Uint16(b[2:])
	p.Seq = binary.BigEndian.Uint32(b[4:])
	p.Ack = binary.BigEndian.Uint32(b[8:])
	p.TCPHeaderLen = header
	p.Flags = b[13]
	p.Window = binary.BigEndian.Uint16(b[14:])
	p.Payload = b[header:]
	if p.SrcPort == 0 || p.DstPort == 0 {
		return drop.PortZero
	}
	if f := p.Flags; f&(FIN|SYN|RST|PSH|ACK|URG) == 0 || f&(SYN|FIN) == SYN|FIN || f&(SYN|RST) == SYN|RST {
		return drop.TCPFlags
	}
	return drop.None
}

func (p *Packet) decodeUDP() drop.Cause {
	b := p.L4
	if len(b) < udpHeaderLen {
		return p.truncated()
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case length < udpHeaderLen:
		return drop.L4Length
	case p.Fragment && length <= len(b): // a first fragment is not all of it
		return drop.L4Length
	case !p.Fragment && length > len(b):
		return drop.L4Length
	}
	p.SrcPort = binary.BigEndian.Uint16(b)
	p.DstPort = binary.BigEndian.Uint16(b[2:])
	p.Payload = b[udpHeaderLen:min(length, len(b))]
	if p.SrcPort == 0 || p.DstPort == 0 {
		return drop.PortZero
	}
	if p.Version == 6 && b[6] == 0 && b[7] == 0 { // RFC 8200 8.1
		return drop.L4Checksum
	}
	return drop.None
}

func (p *Packet) decodeICMP() drop.Cause {
	b := p.L4
	if len(b) < icmpHeaderLen {
		return p.truncated()
	}
	p.ICMPType = b[0]
	p.ICMPCode = b[1]
	p.ICMPRest = binary.BigEndian.Uint32(b[4:])
	p.Payload = b[icmpHeaderLen:]
	return drop.None
}
