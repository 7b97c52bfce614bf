package hop

import (
	"crypto/tls"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"

	"l3extract/adapters/outbound"
)

// TestVia: the connection at the bottom tells, and one without an address none.
func TestVia(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	u, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	x, y := net.Pipe()
	defer x.Close()
	defer y.Close()
	loopback := netip.MustParseAddr("127.0.0.1")
	for name, tc := range map[string]struct {
		c    interface{ LocalAddr() net.Addr }
		want netip.Addr
	}{
		"plain":     {c, loopback},
		"TLS":       {tls.Client(&early{Conn: c}, &tls.Config{}), loopback},
		"Unix":      {u, netip.Addr{}},
		"pipe":      {x, netip.Addr{}},
		"nil":       {nowhere{}, netip.Addr{}},
		"no socket": {nowhere{&net.UDPAddr{IP: net.ParseIP("::ffff:127.0.0.1")}}, loopback},
	} {
		if got, index := Via(tc.c); got != tc.want || index != 0 {
			t.Errorf("%s: %v and %d, want %v", name, got, index, tc.want)
		}
	}
	told := 0
	ctx := outbound.WithSocket(t.Context(), func(syscall.RawConn) { told++ })
	Tell(ctx, c)
	Tell(ctx, x)
	if told != 1 {
		t.Errorf("told of %d", told)
	}
}

type nowhere struct{ a net.Addr }

func (n nowhere) LocalAddr() net.Addr { return n.a }
