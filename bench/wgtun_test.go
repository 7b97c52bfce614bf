package bench

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/curve25519"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	wgtundev "golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/tun/netstack"

	"l3extract/l3conn"
	"l3extract/l3conn/wgtun"
	"l3extract/stack"
)

// BenchmarkWireGuard moves 64 KiB from one stack to another through two wireguard-go
// devices over UDP on the loopback, with the same keys in every world, one way (down: to
// the one that has dialled).
func BenchmarkWireGuard(b *testing.B) {
	for _, down := range []bool{false, true} {
		for _, w := range []struct {
			name string
			make func(*testing.B) (client, server *tunnelEnd)
		}{
			{"ours", oursTunnelled},
			{"ours-pipe", oursPiped},
			{"netstack", netstackTunnelled},
		} {
			b.Run(fmt.Sprintf("down=%v/%s", down, w.name), func(b *testing.B) { tunnelBulk(b, w.make, down) })
		}
	}
}

// tunnelEnd is a stack behind a device.
type tunnelEnd struct {
	tun    wgtundev.Device
	dial   func(to netip.AddrPort) (net.Conn, error)
	listen func(at netip.AddrPort) (net.Listener, error)
	close  func()
}

var tunnelAddrs = [2]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}

func oursTunnelled(b *testing.B) (client, server *tunnelEnd) {
	make := func(own netip.Addr) *tunnelEnd {
		end, dev := wgtun.Pair(nil)
		return ourEnd(b, end, dev, own)
	}
	return make(tunnelAddrs[0]), make(tunnelAddrs[1])
}

// oursPiped has a SegmentPipe between stack and device.
func oursPiped(b *testing.B) (client, server *tunnelEnd) {
	make := func(own netip.Addr) *tunnelEnd {
		x, y := l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{MTU: wgtun.DefaultMTU})
		dev, err := wgtun.ToTUN(y, nil)
		if err != nil {
			b.Fatal(err)
		}
		return ourEnd(b, x, dev, own)
	}
	return make(tunnelAddrs[0]), make(tunnelAddrs[1])
}

func ourEnd(b *testing.B, c l3conn.Conn, dev wgtundev.Device, own netip.Addr) *tunnelEnd {
	s := run(b, c, stack.Config{}, []netip.Prefix{netip.PrefixFrom(own, 24)})
	return &tunnelEnd{
		tun: dev,
		dial: func(to netip.AddrPort) (net.Conn, error) {
			return s.DialContext(context.Background(), "tcp", to.String())
		},
		listen: func(at netip.AddrPort) (net.Listener, error) {
			return s.Listen(context.Background(), "tcp", at.String())
		},
		close: func() { _ = s.Close() },
	}
}

func netstackTunnelled(b *testing.B) (client, server *tunnelEnd) {
	make := func(own netip.Addr) *tunnelEnd {
		dev, n, err := netstack.CreateNetTUN([]netip.Addr{own}, nil, wgtun.DefaultMTU)
		if err != nil {
			b.Fatal(err)
		}
		return &tunnelEnd{
			tun: dev,
			dial: func(to netip.AddrPort) (net.Conn, error) {
				return n.DialContextTCPAddrPort(context.Background(), to)
			},
			listen: func(at netip.AddrPort) (net.Listener, error) { return n.ListenTCPAddrPort(at) },
			close:  func() {},
		}
	}
	return make(tunnelAddrs[0]), make(tunnelAddrs[1])
}

// tunnelBulk moves b.N times 64 KiB over one connection; it ends with the last byte
// read.
func tunnelBulk(b *testing.B, ends func(*testing.B) (client, server *tunnelEnd), down bool) {
	client, server := ends(b)
	connectTunnel(b, client, server)
	at := netip.AddrPortFrom(tunnelAddrs[1], 80)
	listener, err := server.listen(at)
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	from, err := client.dial(at)
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	to, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer to.Close()
	if down {
		from, to = to, from
	}
	const piece = 64 << 10
	var writer sync.WaitGroup
	total := int64(b.N) * piece
	b.SetBytes(piece)
	b.ResetTimer()
	began := spent()
	writer.Go(func() { // ends with the last byte; awaited below
		p := make([]byte, piece)
		for range b.N {
			if _, err := from.Write(p); err != nil {
				b.Error(err)
				return
			}
		}
	})
	p := make([]byte, piece)
	for left := total; left > 0; {
		n, err := to.Read(p)
		if err != nil {
			b.Fatal(err)
		}
		left -= int64(n)
	}
	writer.Wait()
	b.StopTimer()
	b.ReportMetric(float64(spent()-began)/float64(b.N), "cpu-ns/op")
}

// connectTunnel puts a device on each end, with keys that are always the same.
func connectTunnel(b *testing.B, client, server *tunnelEnd) {
	b.Helper()
	var private, public [2]string
	for i := range private {
		var key [32]byte
		key[0], key[31] = 8*byte(i+1), 64
		pub, err := curve25519.X25519(key[:], curve25519.Basepoint)
		if err != nil {
			b.Fatal(err)
		}
		private[i], public[i] = hex.EncodeToString(key[:]), hex.EncodeToString(pub)
	}
	logger := device.NewLogger(device.LogLevelSilent, "")
	devices := [2]*device.Device{
		device.NewDevice(client.tun, conn.NewStdNetBind(), logger),
		device.NewDevice(server.tun, conn.NewStdNetBind(), logger),
	}
	b.Cleanup(func() {
		client.close()
		server.close()
		for _, d := range devices {
			d.Close()
		}
	})
	for i, d := range devices {
		if err := d.IpcSet("private_key=" + private[i] + "\nlisten_port=0\n"); err != nil {
			b.Fatal(err)
		}
		if err := d.Up(); err != nil {
			b.Fatal(err)
		}
	}
	for i, d := range devices {
		other := 1 - i
		err := d.IpcSet(fmt.Sprintf("public_key=%s\nreplace_allowed_ips=true\nallowed_ip=%v/32\nendpoint=127.0.0.1:%d\n",
			public[other], tunnelAddrs[other], portOf(b, devices[other])))
		if err != nil {
			b.Fatal(err)
		}
	}
}

// portOf asks a device for the port that it listens on.
func portOf(b *testing.B, d *device.Device) (port int) {
	b.Helper()
	state, err := d.IpcGet()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(state) {
		if _, err := fmt.Sscanf(line, "listen_port=%d", &port); err == nil {
			return port
		}
	}
	b.Fatal("no port")
	return 0
}
