package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"golang.zx2c4.com/wireguard/device"
)

// send sends datagrams to the server, from a socket that is nobody's.
func (r *rig) send(t *testing.T, datagrams ...[]byte) {
	t.Helper()
	c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", r.port()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, d := range datagrams {
		if _, err := c.Write(d); err != nil {
			t.Fatal(err)
		}
	}
}

// ofKind are the messages of a kind.
func ofKind(messages [][]byte, kind uint32) (some [][]byte) {
	for _, m := range messages {
		if binary.LittleEndian.Uint32(m) == kind {
			some = append(some, m)
		}
	}
	return some
}

// knock has a client send something, which nobody answers.
func (c *client) knock(t *testing.T) {
	t.Helper()
	pc, err := c.stack.DialContext(t.Context(), "udp", "10.66.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_, _ = pc.Write([]byte("knock"))
}

// TestRefusals: what is not believed is counted by its cause, told once, and harms
// nobody else.
func TestRefusals(t *testing.T) {
	r := newRig(t, 3)
	good := r.peer(t, 0)
	good.bind.record()
	alive := func(what string) {
		t.Helper()
		if _, err := good.fetch(r.web); err != nil {
			t.Errorf("after %s: %v", what, err)
		}
	}
	refused := func(why refusal) func() bool {
		return func() bool {
			return r.counts.refused[why].Load() > 0 && r.lines("level=WARN msg=refused", fmt.Sprintf("why=%q", refusalNames[why])) == 1
		}
	}
	alive("nothing")

	server, err := publicKey(r.cfg.private)
	if err != nil {
		t.Fatal(err)
	}
	r.newClient(t, r.keys[1], mustKey(t), address(1)).knock(t)
	eventually(t, "a wrong server key", refused(wrongServer))
	unknown := r.newClient(t, mustKey(t), server, address(1))
	unknown.bind.record()
	unknown.knock(t)
	eventually(t, "a key that no peer has", refused(stranger))
	r.newClient(t, r.keys[2], server, address(1)).knock(t)
	eventually(t, "a source that is another peer's", refused(foreignSource))
	alive("wrong keys")

	first := ofKind(good.bind.kept(), device.MessageInitiationType)[0]
	r.send(t, first)
	eventually(t, "a handshake that was there", refused(replayed))
	before := r.counts.rejected()
	data := ofKind(good.bind.kept(), device.MessageTransportType)
	eventually(t, "replayed packets", func() bool {
		r.send(t, data...) // again: a busy machine loses datagrams, and a replay is one every time
		return r.counts.rejected() >= before+uint64(len(data))
	})
	packets := r.counts.packets.Load()
	alive("replays")
	if r.counts.packets.Load() == packets {
		t.Error("packets are not counted")
	}

	r.send(t, []byte("this is no WireGuard"), make([]byte, 2), make([]byte, 200))
	eventually(t, "what is no WireGuard", func() bool { return r.counts.unknown.Load() == 3 })

	// More handshakes than are worth the work: their senders must answer first.
	flood := make([][]byte, 5000)
	for i := range flood {
		flood[i] = ofKind(unknown.bind.kept(), device.MessageInitiationType)[0]
	}
	for r.counts.refused[unverified].Load() == 0 {
		r.send(t, flood...)
	}
	eventually(t, "a flood", refused(unverified))
	alive("a flood of handshakes")
	second := r.peer(t, 1) // and whoever comes now shows that it is where it says
	if _, err := second.fetch(r.web); err != nil {
		t.Errorf("a handshake in a flood: %v", err)
	}

	r.stop(t)
	if r.lines("msg=summary", "peers=3", "handshake flood", "replayed handshake", "noWireGuard=3") != 1 {
		t.Errorf("the log:\n%s", &r.log)
	}
}
