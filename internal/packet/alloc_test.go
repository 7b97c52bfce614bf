package packet

import (
	"testing"
)

// TestAllocates: nothing does, once the memory to build in is there.
func TestAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	var p Packet
	buf := make([]byte, 0, 4096)
	long := udpPacket(6, string(make([]byte, 3000)))
	syn4, echo6 := mustDecode(t, tcpPacket(4, SYN, "x")), mustDecode(t, echoPacket(6, "x"))
	failed := mustDecode(t, AppendICMPError(nil, server6.Addr(), TooBig, tcpPacket(6, ACK, "x"), 1280))
	payload := make([]byte, 1200)
	every := seeds()
	fragments := 0
	count := func([]byte) { fragments++ }
	tests := []struct {
		name string
		do   func()
	}{
		{"Decode", func() {
			for _, b := range every {
				p.Decode(b)
			}
		}},
		{"ChecksumOK", func() { syn4.ChecksumOK() }},
		{"AddrPort", func() { _, _ = syn4.SrcAddrPort(), syn4.DstAddrPort() }},
		{"Checksum", func() { Checksum(payload, PseudoHeader(client6.Addr(), server6.Addr(), UDP, 1200)) }},
		{"AppendUDP", func() { AppendUDP(buf, client6, server6, 0, 0, payload) }},
		{"AppendTCP", func() { AppendTCP(buf, TCPHeader{Src: client4, Dst: server4, Flags: ACK}, payload) }},
		{"AppendReset", func() { AppendReset(buf, syn4) }},
		{"AppendEchoReply", func() { AppendEchoReply(buf, echo6) }},
		{"AppendICMPError", func() { AppendICMPError(buf, server6.Addr(), PortUnreachable, long, 0) }},
		{"ParseICMPError", func() { ParseICMPError(failed) }},
		{"Fragment", func() {
			if err := Fragment(long, 1280, 1, count); err != nil {
				t.Error(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// A collection may empty the pool of fragment buffers once: averages are
			// whole numbers, rounded down.
			if n := testing.AllocsPerRun(200, tt.do); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
	if fragments == 0 {
		t.Error("no fragment was emitted")
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, bb := range []struct {
		name string
		pkt  []byte
	}{
		{"TCP4", tcpPacket(4, ACK, string(make([]byte, 1400)))},
		{"TCP6", tcpPacket(6, ACK, string(make([]byte, 1400)))},
		{"UDP4", udpPacket(4, string(make([]byte, 1200)))},
		{"Extensions6", withExtensions(udpPacket(6, "x"), extension(hopByHop, 0, 5, 2), extension(destOptions, 0))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			var p Packet
			for b.Loop() {
				p.Decode(bb.pkt)
			}
		})
	}
}

func BenchmarkAppendUDP(b *testing.B) {
	b.ReportAllocs()
	buf := make([]byte, 0, 2048)
	payload := make([]byte, 1200)
	for b.Loop() {
		AppendUDP(buf, server4, client4, 0, 0, payload)
	}
}

func BenchmarkFragment(b *testing.B) {
	b.ReportAllocs()
	pkt := udpPacket(4, string(make([]byte, 8192)))
	n := 0
	for b.Loop() {
		if err := Fragment(pkt, 1500, 1, func(f []byte) { n += len(f) }); err != nil {
			b.Fatal(err)
		}
	}
}
