package netstack

import (
	"encoding/binary"

	gheader "gvisor.dev/gvisor/pkg/tcpip/header"

	"l3extract/internal/packet"
)

// The engine lets in what lies in the window that it has advertised last, in units of
// the window scale, from its RCV.NXT on. A window that is almost full is therefore shut,
// up to 2^scale-1 bytes before the edge that the peer was given and has sent to. From
// then on it refuses all that the peer says, acknowledgements and resets too, until the
// application reads; and one that reads only once what it wrote is acknowledged, as any
// that echoes or relays in both directions, never does. RFC 9293, 3.10.7.4 has valid
// acknowledgements taken even then, and Linux sends its own from the edge, and resets. Data
// that comes again while the window is shut is refused with the acknowledgement in it.

// mostShut bounds how far beyond a shut window the peer may be: one unit of the scale,
// which the engine derives from maxBuffer.
const mostShut = maxBuffer >> 15

const shutFlag = 1 << 32

// advertised keeps what a segment of ours says of the window. Segments of one connection
// come one at a time.
func (f *flowSeq) advertised(h gheader.TCP) {
	v := uint64(0)
	if h.WindowSize() == 0 && h.Flags()&gheader.TCPFlagAck != 0 {
		v = shutFlag | uint64(h.AckNumber())
	}
	if f.shut.Load() != v {
		f.shut.Store(v)
	}
}

// letIn has an acknowledgement from beyond a shut window say what the engine takes: that
// it is the next in sequence. A reset from there is asked about and not obeyed (RFC 5961,
// 3.2): the engine gets an acknowledgement that it answers, and whoever did reset says so
// again with the number in the answer. p is changed in place; its checksum has been looked
// at. It reports false for what acknowledges nothing any more.
func (f *flowSeq) letIn(p *packet.Packet) bool {
	v := f.shut.Load()
	if v == 0 || len(p.Payload) > 0 || p.Flags&(packet.SYN|packet.FIN) != 0 {
		return true
	}
	next := uint32(v)
	if beyond := p.Seq - next; beyond == 0 || beyond > mostShut {
		return true
	}
	if p.Flags&packet.RST != 0 {
		p.Flags, p.L4[13] = packet.ACK, packet.ACK
		return false
	}
	p.Seq = next
	binary.BigEndian.PutUint32(p.L4[4:], next)
	return true
}
