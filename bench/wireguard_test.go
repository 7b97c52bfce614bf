package bench

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/tun/netstack"
)

// wireguard is two of WireGuard's netstacks, the other way in which programs use the
// engine: gonet's conns behind a TUN in memory, one packet per call. It listens on
// addresses of its own only, here on somewhere.
func wireguard(b *testing.B) world {
	b.Helper()
	clientTUN, client := wireguardStack(b, netip.MustParseAddr("10.0.0.2"))
	serverTUN, server := wireguardStack(b, somewhere.Addr())
	listener, err := server.ListenTCPAddrPort(somewhere)
	if err != nil {
		b.Fatal(err)
	}
	there, back := ferry(clientTUN, serverTUN), ferry(serverTUN, clientTUN)
	b.Cleanup(func() {
		// Its Close panics while the engine still sends; the listener goes first.
		_ = listener.Close()
		_ = clientTUN.Close()
		_ = serverTUN.Close()
		<-there
		<-back
	})
	return world{
		dial: func(to netip.AddrPort) (net.Conn, error) {
			return client.DialContextTCPAddrPort(context.Background(), to)
		},
		accept: listener.Accept,
	}
}

func wireguardStack(b *testing.B, own netip.Addr) (tun.Device, *netstack.Net) {
	b.Helper()
	dev, stack, err := netstack.CreateNetTUN([]netip.Addr{own}, nil, 1500)
	if err != nil {
		b.Fatal(err)
	}
	return dev, stack
}

// ferry moves packets from one device to the other until one is closed.
func ferry(from, to tun.Device) (done chan struct{}) {
	done = make(chan struct{})
	go func() { // ends when a device is closed; awaited by the caller
		defer close(done)
		bufs, sizes := [][]byte{make([]byte, 1<<16)}, make([]int, 1)
		for {
			n, err := from.Read(bufs, sizes, 0)
			if err != nil {
				return
			}
			if n == 0 {
				continue
			}
			if _, err := to.Write([][]byte{bufs[0][:sizes[0]]}, 0); err != nil {
				return
			}
		}
	}()
	return done
}
