package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"l3extract/internal/drop"
)

// A reassembler puts the fragments of one packet together, in any order. It knows
// nothing of how they were cut.
type reassembler struct {
	head  []byte // what precedes the data, from the first fragment
	next  uint8  // IPv6: what the fragment header named
	at    int    // IPv6: which byte named the fragment header
	data  []byte
	have  []bool
	total int // 0: unknown
	err   error
}

func (r *reassembler) add(frag []byte) {
	var p Packet
	if c := p.Decode(frag); c != drop.None || !p.ChecksumOK() {
		r.err = fmt.Errorf("fragment is refused: %v, checksum %v", c, p.ChecksumOK())
		return
	}
	head, data := frag[:p.HeaderLen], frag[p.HeaderLen:]
	if p.Version == 6 {
		at, next := 6, frag[6]
		end := v6HeaderLen
		for next != fragmentExt {
			at, next = end, frag[end]
			end += (int(frag[end+1]) + 1) * 8
		}
		r.next, r.at = frag[end], at
		head, data = frag[:end], frag[end+fragmentHeaderLen:]
	}
	if p.FragOffset == 0 {
		r.head = bytes.Clone(head)
	}
	end := p.FragOffset + len(data)
	if !p.MoreFragments {
		r.total = end
	}
	if len(r.data) < end {
		r.data = append(r.data, make([]byte, end-len(r.data))...)
		r.have = append(r.have, make([]bool, end-len(r.have))...)
	}
	copy(r.data[p.FragOffset:], data)
	for i := p.FragOffset; i < end; i++ {
		if r.have[i] {
			r.err = errors.New("fragments overlap")
		}
		r.have[i] = true
	}
}

func (r *reassembler) packet() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.head == nil || r.total == 0 || len(r.data) != r.total {
		return nil, errors.New("first or last fragment missing")
	}
	for i, ok := range r.have {
		if !ok {
			return nil, fmt.Errorf("byte %d missing", i)
		}
	}
	b := append(bytes.Clone(r.head), r.data...)
	if b[0]>>4 == 4 {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[4], b[5], b[6], b[7] = 0, 0, 0, 0
		return fix4(b), nil
	}
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-v6HeaderLen))
	b[r.at] = r.next
	return b, nil
}

// cut fragments pkt and returns copies, verifying that none is too large.
func cut(t testing.TB, pkt []byte, mtu int) ([][]byte, error) {
	t.Helper()
	before := bytes.Clone(pkt)
	var frags [][]byte
	err := Fragment(pkt, mtu, 0x12345678, func(b []byte) {
		if len(b) > mtu {
			t.Errorf("a fragment of %d bytes for an MTU of %d", len(b), mtu)
		}
		frags = append(frags, bytes.Clone(b))
	})
	if !bytes.Equal(pkt, before) {
		t.Error("Fragment changed the packet")
	}
	if err != nil && len(frags) > 0 {
		t.Errorf("fragments and an error: %v", err)
	}
	return frags, err
}

func mustReassemble(t testing.TB, frags [][]byte) []byte {
	t.Helper()
	var r reassembler
	for i := range frags {
		r.add(frags[len(frags)-1-i])
	}
	b, err := r.packet()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFragmentReassembles(t *testing.T) {
	long := string(bytes.Repeat([]byte("0123456789abc"), 300))
	dest := extension(destOptions, 1, 1, 12)
	hop := extension(hopByHop, 0, 1, 4)
	tests := []struct {
		name string
		pkt  []byte
	}{
		{"UDP over IPv4", udpPacket(4, long)},
		{"UDP over IPv6", udpPacket(6, long)},
		{"echo over IPv4", patchID(echoPacket(4, long))},
		{"echo over IPv6", echoPacket(6, long)},
		{"TCP over IPv6", tcpPacket(6, ACK, long)},
		{"IPv6 with all extensions", withExtensions(udpPacket(6, long), hop, dest, extension(routing, 0, 0, 0), dest)},
		{"IPv6 with destination options", withExtensions(tcpPacket(6, ACK, long), dest)},
		{"IPv4 with options", withOptions4(udpPacket(4, long), 0x94, 4, 0, 0)},
		{"as large as can be, IPv4", udpPacket(4, string(make([]byte, 65507)))},
		{"as large as can be, IPv6", udpPacket(6, string(make([]byte, 65527)))},
	}
	for _, tt := range tests {
		for _, mtu := range []int{1280, 1281, 1287, 1288, 1500, 4000} {
			t.Run(fmt.Sprint(tt.name, mtu), func(t *testing.T) {
				frags, err := cut(t, tt.pkt, mtu)
				if err != nil {
					t.Fatal(err)
				}
				if want := (len(tt.pkt) + mtu - 1) / mtu; len(frags) < want {
					t.Errorf("%d fragments, want at least %d", len(frags), want)
				}
				if len(frags) == 1 {
					return
				}
				if got := mustReassemble(t, frags); !bytes.Equal(got, tt.pkt) {
					t.Errorf("reassembled\n%.80x, want\n%.80x", got, tt.pkt)
				}
				for _, f := range frags {
					p := mustDecode(t, f)
					want := uint32(0x12345678)
					if p.Version == 4 {
						want = 0x5678
					}
					if p.FragID != want {
						t.Errorf("identification %#x, want %#x", p.FragID, want)
					}
				}
			})
		}
	}
}

// patchID clears the identification of an IPv4 packet.
func patchID(pkt []byte) []byte { return fix4(patch(pkt, 4, 0, 0)) }

func TestFragmentFits(t *testing.T) {
	for _, version := range []int{4, 6} {
		b := udpPacket(version, "small")
		frags, err := cut(t, append(bytes.Clone(b), "padding"...), len(b))
		if err != nil || len(frags) != 1 || !bytes.Equal(frags[0], b) {
			t.Errorf("IPv%d: %x, %v; want the packet without its padding", version, frags, err)
		}
	}
	b := tcpPacket(4, ACK, "") // with DF
	if frags, err := cut(t, b, len(b)); err != nil || len(frags) != 1 {
		t.Errorf("%x, %v; want the packet", frags, err)
	}
}

func TestFragmentErrors(t *testing.T) {
	udp4, udp6 := udpPacket(4, string(make([]byte, 100))), udpPacket(6, string(make([]byte, 100)))
	tcp4 := tcpPacket(4, ACK, string(make([]byte, 100)))
	free := fix4(patch(tcp4, 6, 0, 0))
	tests := []struct {
		name string
		pkt  []byte
		mtu  int
		want error
	}{
		{"nothing", nil, 100, ErrUnreadable},
		{"another version", patch(udp4, 0, 0x55), 100, ErrUnreadable},
		{"header of 16", patch(udp4, 0, 0x44), 100, ErrUnreadable},
		{"total below header", patch(udp4, 2, 0, 19), 100, ErrUnreadable},
		{"truncated", udp4[:100], 90, ErrUnreadable},
		{"truncated, IPv6", udp6[:100], 90, ErrUnreadable},
		{"half a header, IPv6", udp6[:39], 90, ErrUnreadable},
		{"extensions cut, IPv6", patch(withExtensions(udp6, extension(destOptions, 0)), 41, 200), 90, ErrUnreadable},
		{"a fragment, IPv6", withExtensions(udp6, fragmentExtension(8, true, 1)), 90, ErrUnreadable},
		{"a fragment that ends beyond 65535", frag4(udp4, 65528, false), 90, ErrUnreadable},
		{"don't fragment", tcp4, 100, ErrDontFragment},
		{"no MTU", udp4, 0, ErrMTU},
		{"negative MTU", udp6, -5, ErrMTU},
		{"room for 7 bytes", udp4, 27, ErrMTU},
		{"room for 7 bytes, IPv6", udp6, 55, ErrMTU},
		{"no room for the TCP header", free, 20 + 23, ErrMTU},
		{"no room for extensions", withExtensions(udp6, extension(destOptions, 2)), 48 + 31, ErrMTU},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := cut(t, tt.pkt, tt.mtu); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	for err, want := range map[error]error{
		ErrDontFragment: syscall.EMSGSIZE, ErrMTU: syscall.EMSGSIZE, ErrUnreadable: syscall.EINVAL,
	} {
		if !errors.Is(err, want) {
			t.Errorf("%v is not %v", err, want)
		}
	}
	if frags, err := cut(t, fix4(patch(udp4, 9, 132)), 28); err != nil || len(frags) != 14 {
		t.Errorf("a protocol nobody knows: %d fragments, %v; want 14 of 8 bytes", len(frags), err)
	}
	if frags, err := cut(t, free, 20+24); err != nil || !bytes.Equal(mustReassemble(t, frags), free) {
		t.Errorf("a TCP header that just fits: %v", err)
	}
}

func TestFragmentOfFragment(t *testing.T) {
	whole := udpPacket(4, string(bytes.Repeat([]byte("abcdefgh"), 400)))
	first, err := cut(t, whole, 1500)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, f := range first {
		again, err := cut(t, f, 600)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, again...)
	}
	if len(all) <= len(first) {
		t.Fatalf("%d fragments of %d", len(all), len(first))
	}
	for _, f := range all {
		if p := mustDecode(t, f); p.FragID != 0x5678 {
			t.Errorf("identification %#x, want that of the first cut", p.FragID)
		}
	}
	if got := mustReassemble(t, all); !bytes.Equal(got, whole) {
		t.Error("the pieces make another packet")
	}
}

func TestFragmentOptions(t *testing.T) {
	// Record route (not copied), router alert (copied), timestamp (not copied).
	pkt := withOptions4(udpPacket(4, string(make([]byte, 100))), 7, 3, 4, 1, 0x94, 4, 0, 9, 68, 4, 5, 0)
	frags, err := cut(t, pkt, 72)
	if err != nil || len(frags) < 2 {
		t.Fatalf("%d fragments, %v", len(frags), err)
	}
	for i, f := range frags {
		want := []byte{1, 1, 1, 1, 0x94, 4, 0, 9, 1, 1, 1, 1}
		if i == 0 {
			want = pkt[20:32]
		}
		if !bytes.Equal(f[20:32], want) {
			t.Errorf("fragment %d has the options %x, want %x", i, f[20:32], want)
		}
	}
	ended := []byte{1, 0, 7, 3}
	dropUncopied(ended)
	if !bytes.Equal(ended, []byte{1, 0, 7, 3}) {
		t.Errorf("what follows the end of options became %x", ended)
	}
	for _, malformed := range [][]byte{{7, 0, 0, 0}, {7, 9, 0, 0}, {1, 1, 1, 7}} {
		dropUncopied(malformed) // must end, whatever it finds
		if !bytes.Equal(malformed, []byte{1, 1, 1, 1}) {
			t.Errorf("malformed options became %x", malformed)
		}
	}
}

func FuzzFragment(f *testing.F) {
	f.Add([]byte("payload"), uint16(576), uint8(0))
	f.Add(bytes.Repeat([]byte("x"), 3000), uint16(1280), uint8(1))
	f.Add(bytes.Repeat([]byte("y"), 200), uint16(48), uint8(2))
	f.Add(bytes.Repeat([]byte("z"), 2000), uint16(1281), uint8(3))
	f.Add(bytes.Repeat([]byte("v"), 500), uint16(100), uint8(4))
	f.Add(bytes.Repeat([]byte("u"), 500), uint16(99), uint8(5))
	f.Fuzz(func(t *testing.T, payload []byte, mtu uint16, kind uint8) {
		payload = payload[:min(len(payload), 4096)] // the table has the large ones
		var pkt []byte
		switch kind % 6 {
		case 0:
			pkt = udpPacket(4, string(payload))
		case 1:
			pkt = udpPacket(6, string(payload))
		case 2:
			pkt = fix4(patch(tcpPacket(4, ACK, string(payload)), 6, 0, 0))
		case 3:
			pkt = withExtensions(tcpPacket(6, ACK, string(payload)), extension(hopByHop, 1, 1, 12), extension(destOptions, 0, 1, 4))
		case 4:
			pkt = withOptions4(patchID(echoPacket(4, string(payload))), 0x94, 4, 0, 0)
		case 5:
			pkt = withExtensions(echoPacket(6, string(payload)), extension(routing, 0, 0, 0))
		}
		frags, err := cut(t, pkt, int(mtu))
		if err != nil {
			if mtu > 200 {
				t.Errorf("refused for an MTU of %d: %v", mtu, err)
			}
			return
		}
		if len(frags) == 1 {
			if !bytes.Equal(frags[0], pkt) {
				t.Error("a packet that fits was changed")
			}
			return
		}
		if got := mustReassemble(t, frags); !bytes.Equal(got, pkt) {
			t.Errorf("reassembled\n%.80x, want\n%.80x", got, pkt)
		}
	})
}
