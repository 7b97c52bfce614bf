package packet

import (
	"encoding/binary"

	"l3extract/internal/drop"
)

// The IPv6 extension headers that are walked (RFC 8200 4, RFC 4302).
const (
	hopByHop     uint8 = 0
	routing      uint8 = 43
	fragmentExt  uint8 = 44
	authentic    uint8 = 51
	noNextHeader uint8 = 59
	destOptions  uint8 = 60
)

const (
	fragmentHeaderLen = 8

	// maxExtensions bounds the headers walked in one packet. RFC 8200 4.1 knows at
	// most seven; RFC 8504 5.3 advises a limit, since each costs time before anything
	// is known about the packet.
	maxExtensions = 8
)

func isExtension(proto uint8) bool {
	switch proto {
	case hopByHop, routing, fragmentExt, authentic, noNextHeader, destOptions:
		return true
	}
	return false
}

// A chain is what a walk over the extension headers of one IPv6 packet finds.
type chain struct {
	proto   uint8 // first header that is no extension header
	off     int   // where it begins
	protoAt int   // offset of the field that names it

	// The part that each fragment repeats ends at splitAt; the field at splitNext
	// names the first header behind it (RFC 8200 4.5).
	splitAt, splitNext int

	fragHeader bool // there is a fragment header, at fragAt
	fragment   bool // and reassembly is needed
	more       bool
	fragAt     int
	fragOffset int
	fragID     uint32
}

// walk reads the headers of b, which begins with a whole IPv6 header. It stops
// behind the header of a fragment that is not the first. b may be cut anywhere, as
// packets quoted in ICMP errors are.
func (c *chain) walk(b []byte) drop.Cause {
	*c = chain{proto: b[6], off: v6HeaderLen, protoAt: 6, splitAt: v6HeaderLen, splitNext: 6}
	for n := 0; isExtension(c.proto); n++ {
		if c.proto == noNextHeader {
			return drop.NoNextHeader
		}
		if n == maxExtensions || c.proto == hopByHop && n > 0 {
			return drop.BadExtension
		}
		ext := b[c.off:]
		if len(ext) < 8 {
			return c.truncated()
		}
		size := (int(ext[1]) + 1) * 8
		switch c.proto {
		case fragmentExt:
			size = fragmentHeaderLen
		case authentic:
			size = (int(ext[1]) + 2) * 4
			if size < 12 {
				return drop.BadExtension
			}
		}
		if size > len(ext) {
			return c.truncated()
		}
		if cause := c.read(ext[:size]); cause != drop.None {
			return cause
		}
		c.protoAt = c.off
		c.proto = ext[0]
		c.off += size
		if c.fragOffset > 0 {
			return drop.None
		}
	}
	return drop.None
}

// read takes what matters from ext, the extension header of type c.proto at c.off.
func (c *chain) read(ext []byte) drop.Cause {
	switch c.proto {
	case hopByHop, destOptions:
		if cause := checkOptions6(ext[2:]); cause != drop.None {
			return cause
		}
	case routing:
		// We are always the last hop. With segments left the packet is to be sent on,
		// which is never done here (RFC 5095, RFC 8200 4.4).
		if ext[3] != 0 {
			return drop.SourceRoute
		}
	case fragmentExt:
		if c.fragHeader {
			return drop.BadExtension
		}
		field := binary.BigEndian.Uint16(ext[2:])
		c.fragHeader = true
		c.fragAt = c.off
		c.more = field&1 != 0
		c.fragOffset = int(field &^ 7)
		c.fragment = c.more || c.fragOffset > 0
		c.fragID = binary.BigEndian.Uint32(ext[4:])
	}
	if c.proto == hopByHop || c.proto == routing && !c.fragHeader {
		c.splitAt = c.off + len(ext)
		c.splitNext = c.off
	}
	return drop.None
}

// truncated is the cause of a chain that ends before its upper-layer header.
func (c *chain) truncated() drop.Cause {
	if c.fragment {
		return drop.TinyFragment // RFC 8200 4.5: the first fragment holds the whole chain
	}
	return drop.BadExtension
}

// checkOptions6 walks the options of a hop-by-hop or destination options header.
// An option nobody knows decides by its two highest bits whether the packet may
// pass (RFC 8200 4.2); none that forbids it is known here (jumbograms, home
// addresses), so those bits alone decide.
func checkOptions6(b []byte) drop.Cause {
	for len(b) > 0 {
		if b[0] == 0 { // one byte of padding
			b = b[1:]
			continue
		}
		if len(b) < 2 || int(b[1])+2 > len(b) || b[0]&0xc0 != 0 {
			return drop.BadExtension
		}
		b = b[int(b[1])+2:]
	}
	return drop.None
}
