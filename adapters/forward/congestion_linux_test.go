package forward

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"l3extract/stack"
)

// choke gives an interface a queue of a few packets, which lets out one a second. It
// runs in the namespace, and returns what takes the queue away.
func choke(name string) (free func() error, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	q := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
		},
		Rate: 1500, Limit: 4000, Buffer: 64 << 20, // the last in ticks
	}
	return func() error { return netlink.QdiscDel(q) }, netlink.QdiscReplace(q)
}

// TestCongestion: what the host has no room to send is lost as in any network. No
// client is told anything, a mapping that begins with it lives, and runs of datagrams
// are sent as runs afterwards.
func TestCongestion(t *testing.T) {
	near, far := newNetns(t), newNetns(t)
	near.join(far, []string{"203.0.113.1/24"}, []string{"203.0.113.9/24"})
	server := far.udp("203.0.113.9:0")
	var free func() error
	var err error
	near.do(func() { free, err = choke("near") })
	if err != nil {
		t.Skipf("no token bucket here: %v", err)
	}
	r := newRig(t, &Server{PacketListener: near}, stack.Config{})
	const name = "198.51.100.7:1053"
	r.front(name, server.LocalAddr())
	clients := make([]net.Conn, 3)
	for i := range clients {
		c, err := r.client.DialContext(soon(t), "udp", name)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients[i] = c
		wait(t, "a datagram to be lost", func() bool { // its first, or one that follows soon
			lost := r.fwd.Stats().DatagramsLost
			for range 20 {
				if _, err := c.Write(make([]byte, 1200)); err != nil {
					t.Fatalf("client %d was told: %v", i, err)
				}
			}
			return lost > 0 && r.fwd.Stats().Sockets == int64(i+1) && r.fwd.Stats().DatagramsLost > lost
		})
	}
	near.do(func() { err = free() })
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for i, c := range clients {
		want := string(rune('a' + i))
		_ = server.SetReadDeadline(time.Now().Add(patience))
		for got := ""; got != want; {
			if _, err := c.Write([]byte(want)); err != nil {
				t.Fatalf("client %d was told: %v", i, err)
			}
			n, _, err := server.ReadFrom(buf)
			if err != nil {
				t.Fatalf("client %d: %v", i, err)
			}
			got = string(buf[:n])
		}
	}
	if drops := r.server.Stats().Drops; drops["icmp_rate"] != 0 {
		t.Errorf("errors were sent: %v", drops)
	}
	if st := r.fwd.Stats(); st.Sockets != int64(len(clients)) || st.DatagramErrors != 0 {
		t.Errorf("%+v", st)
	}
	for _, e := range r.work.all() {
		s := e.(*socket)
		wait(t, "the socket to be idle", func() bool { return s.owner.Load() == nobody })
		if s.outlets[0].up.single {
			t.Error("runs are off")
		}
	}
}
