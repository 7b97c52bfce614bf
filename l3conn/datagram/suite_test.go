package datagram

import (
	"net"
	"path/filepath"
	"runtime"
	"testing"

	"l3extract/l3conn"
	"l3extract/l3conn/l3conntest"
)

// plain hides batches.
type plain struct{ *Conn }

func (p plain) Caps() l3conn.Caps {
	caps := p.Conn.Caps()
	caps.BatchReader, caps.BatchWriter = nil, nil
	return caps
}

// slow takes the fast path away from a UDP socket.
type slow struct{ net.PacketConn }

func listen(t testing.TB, host string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		t.Skip(err)
	}
	return c
}

func must(c *Conn, err error) func(t testing.TB) *Conn {
	return func(t testing.TB) *Conn {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

// pair is a socket that has the other as its peer, and one that is connected to it.
func pair(t testing.TB, host string, c Config) (a, b *Conn) {
	t.Helper()
	x := listen(t, host)
	y, err := net.DialUDP("udp", nil, x.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	fixed := c
	fixed.Peer = y.LocalAddr()
	return must(New(x, &fixed))(t), must(NewConnected(y, &c))(t)
}

func TestContract(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(t *testing.T) (a, b *Conn)
	}{
		{"udp4", func(t *testing.T) (a, b *Conn) { return pair(t, "127.0.0.1", Config{}) }},
		{"udp6", func(t *testing.T) (a, b *Conn) { return pair(t, "::1", Config{}) }},
		{"single", func(t *testing.T) (a, b *Conn) { return pair(t, "127.0.0.1", Config{NoOffload: true, MTU: 1400}) }},
		{"both ends unconnected", func(t *testing.T) (a, b *Conn) {
			x, y := listen(t, "127.0.0.1"), listen(t, "127.0.0.1")
			return must(New(x, &Config{Peer: y.LocalAddr(), Roam: true}))(t), must(New(y, &Config{Peer: x.LocalAddr(), MTU: 9000}))(t)
		}},
		{"any socket", func(t *testing.T) (a, b *Conn) {
			x, y := listen(t, "127.0.0.1"), listen(t, "127.0.0.1")
			return must(New(slow{x}, &Config{Peer: y.LocalAddr()}))(t), must(New(slow{y}, &Config{Peer: x.LocalAddr()}))(t)
		}},
		{"unixgram", func(t *testing.T) (a, b *Conn) {
			if runtime.GOOS == "windows" {
				t.Skip("no Unix datagram sockets on this system")
			}
			dir := t.TempDir()
			var conns [2]*net.UnixConn
			var addrs [2]*net.UnixAddr
			for i := range conns {
				addrs[i] = &net.UnixAddr{Name: filepath.Join(dir, string(rune('a'+i))), Net: "unixgram"}
				c, err := net.ListenUnixgram("unixgram", addrs[i])
				if err != nil {
					t.Fatal(err)
				}
				conns[i] = c
			}
			return must(New(conns[0], &Config{Peer: addrs[1], MTU: 1500}))(t), must(New(conns[1], &Config{Peer: addrs[0], MTU: 1500}))(t)
		}},
	} {
		for _, batch := range []bool{true, false} {
			t.Run(c.name+map[bool]string{true: "/batch", false: "/plain"}[batch], func(t *testing.T) {
				t.Parallel()
				l3conntest.Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
					x, y := c.open(t)
					stop = func() {
						x.Close()
						y.Close()
					}
					if batch {
						return x, y, stop
					}
					return plain{x}, plain{y}, stop
				})
			})
		}
	}
}
