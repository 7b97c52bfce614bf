package framed

import (
	"encoding/binary"
	"fmt"
	"time"

	"l3extract/l3conn"
)

// Format says how the length in front of a packet is written. It counts the bytes
// of the packet, not its own.
type Format uint8

// The formats.
const (
	// Big16 is 16 bits, big endian: OpenVPN over TCP, and most others.
	Big16 Format = iota
	// Little16 is 16 bits, little endian: vpnkit and hyperkit, and
	// gvisor-tap-vsock's protocol of that name. Their frames are Ethernet.
	Little16
	// Big32 is 32 bits, big endian: qemu's stream and socket netdevs. Their frames
	// are Ethernet.
	Big32
	// Little32 is 32 bits, little endian.
	Little32

	formats
)

// size is the number of bytes of a length.
func (f Format) size() int {
	if f == Big32 || f == Little32 {
		return 4
	}
	return 2
}

// length reads the length that b begins with.
func (f Format) length(b []byte) uint32 {
	switch f {
	case Big16:
		return uint32(binary.BigEndian.Uint16(b))
	case Little16:
		return uint32(binary.LittleEndian.Uint16(b))
	case Big32:
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// put writes length n to the beginning of b.
func (f Format) put(b []byte, n int) {
	switch f {
	case Big16:
		binary.BigEndian.PutUint16(b, uint16(n))
	case Little16:
		binary.LittleEndian.PutUint16(b, uint16(n))
	case Big32:
		binary.BigEndian.PutUint32(b, uint32(n))
	case Little32:
		binary.LittleEndian.PutUint32(b, uint32(n))
	}
}

const (
	// MaxMTU is the largest packet that any format carries here, in bytes.
	MaxMTU = 65535
	// DefaultBuffer is the size of each buffer, in bytes: as much as a socket's
	// default buffer gives or takes at once.
	DefaultBuffer = 128 << 10
	// maxBuffer bounds what a Config may ask for.
	maxBuffer = 16 << 20
	// minIPHeader is the shortest packet: an IPv4 header.
	minIPHeader = 20
	// missedKeepalives is how many intervals without a word make a peer dead.
	missedKeepalives = 4
)

// Config is read once by New; nil and the zero value are the defaults.
type Config struct {
	// Format of the lengths; both ends must have the same. Default: Big16.
	Format Format
	// MTU is the largest packet in both directions, in bytes: at least MinFrame, at
	// most MaxMTU.
	// Default: 1500.
	MTU int
	// MinFrame is the shortest packet, in bytes: 14 for Ethernet frames. A shorter
	// one that is read is a *LengthError; one that is written is lost and counted.
	// Default: 20, an IPv4 header.
	MinFrame int
	// Keepalive is the time without a Write after which an empty frame is sent. The
	// peer must know such frames: qemu and OpenVPN do not. Default: none are sent.
	Keepalive time.Duration
	// PeerTimeout is the time for which a Read waits without a single byte from the
	// peer until the conn ends with an error that matches syscall.ETIMEDOUT; the
	// peer must send keepalives or have enough to say. Default: four times
	// Keepalive, without which there is none. Negative: none.
	PeerTimeout time.Duration
	// ReadBuffer and WriteBuffer are the bytes that one Read or Write of the stream
	// takes at most; less than two frames of MTU bytes are raised to that.
	// Default: DefaultBuffer.
	ReadBuffer, WriteBuffer int
	// NoDeadlines says that a deadline that passes ends the stream, as it does with
	// coder/websocket's NetConn. The conn then has none, and who must end a blocked
	// call closes it. Default: the stream's own, but for Writes of TLS.
	NoDeadlines bool
}

// withDefaults returns c with its defaults, or an error that names the field.
func (c *Config) withDefaults() (Config, error) {
	var d Config
	if c != nil {
		d = *c
	}
	if d.MTU == 0 {
		d.MTU = l3conn.DefaultMTU
	}
	if d.MinFrame == 0 {
		d.MinFrame = minIPHeader
	}
	switch {
	case d.Format >= formats:
		return d, fmt.Errorf("framed: Config.Format %d is not known", d.Format)
	case d.MTU < 1 || d.MTU > MaxMTU:
		return d, fmt.Errorf("framed: Config.MTU %d is not within 1 and %d", d.MTU, MaxMTU)
	case d.MinFrame < 1 || d.MinFrame > d.MTU:
		return d, fmt.Errorf("framed: Config.MinFrame %d is not within 1 and the MTU of %d", d.MinFrame, d.MTU)
	case d.Keepalive < 0:
		return d, fmt.Errorf("framed: Config.Keepalive %v is negative", d.Keepalive)
	}
	switch {
	case d.PeerTimeout == 0:
		d.PeerTimeout = missedKeepalives * d.Keepalive
	case d.PeerTimeout < 0:
		d.PeerTimeout = 0
	}
	frames := 2 * (d.Format.size() + d.MTU)
	for _, b := range []struct {
		field string
		size  *int
	}{{"ReadBuffer", &d.ReadBuffer}, {"WriteBuffer", &d.WriteBuffer}} {
		if *b.size < 0 || *b.size > maxBuffer {
			return d, fmt.Errorf("framed: Config.%s %d is not within 0 and %d", b.field, *b.size, maxBuffer)
		}
		if *b.size == 0 {
			*b.size = DefaultBuffer
		}
		*b.size = max(*b.size, frames)
	}
	return d, nil
}
