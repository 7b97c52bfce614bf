package netnstest

import (
	"net"
	"strings"
	"testing"
)

// TestNetNS: what is made in a namespace is there and nowhere else.
func TestNetNS(t *testing.T) {
	NeedRoot(t, "ip")
	n := New(t)
	n.IP(t, "link set lo up", "addr add 192.0.2.77/32 dev lo")
	n.Sysctl(t, "ipv4/ip_forward", "1")
	if got := n.Output(t, "ip", "-o", "addr"); !strings.Contains(got, "192.0.2.77") {
		t.Errorf("it has no address of ours:\n%s", got)
	}
	n.Listen(t, "192.0.2.77:7")
	n.ListenPacket(t, "192.0.2.77:7")
	if ln, err := net.Listen("tcp", "192.0.2.77:7"); err == nil {
		ln.Close()
		t.Error("its address is outside, too")
	}
}
