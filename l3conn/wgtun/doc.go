// Package wgtun joins packet conns and the tun.Device of wireguard-go
// (golang.zx2c4.com/wireguard/tun), in both directions.
//
// [Pair] is what a Stack needs to be one end of WireGuard tunnels, without a TUN
// interface and without root: a packet conn for the Stack, and a tun.Device for
// wireguard-go's device.Device, as its client or as a server with many peers.
//
//	end, tunnel := wgtun.Pair(nil)
//	wg := device.NewDevice(tunnel, conn.NewDefaultBind(), logger)
//	err := wg.IpcSet(keysAndPeers)   // and wg.Up
//	s, err := stack.New(end, &stack.Config{Addrs: addrs})
//
// Batches pass through whole. What the Stack sends is cut into packets where
// wireguard-go wants them, from the Stack's own memory: there is no copy in between.
// What wireguard-go has decrypted is read from its buffers in one call.
//
// [ToTUN] makes a tun.Device of any packet conn, such as l3extract/l3conn/tun's or
// a framed stream. [FromTUN] makes a packet conn of any tun.Device, such as those
// that VPN programs have already.
//
// # Who ends what
//
// A tun.Device belongs to its device.Device, whose Close closes it. The Stack's end
// then reads io.EOF, and Run returns that. So close the device.Device after the
// Stack; closing the Stack alone leaves packets of peers waiting. Nothing here has
// goroutines but a Conn of FromTUN, which has one that Close waits for.
package wgtun
