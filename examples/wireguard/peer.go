package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"

	"l3extract/l3conn/wgtun"
	"l3extract/stack"
)

// peer is one end of the tunnel: a Stack behind a WireGuard device.
type peer struct {
	stack  *stack.Stack
	device *device.Device
	key    *ecdh.PrivateKey
	addrs  []netip.Prefix
}

// newPeer returns a peer that listens on a UDP port of its own.
func newPeer(addrs ...string) (*peer, error) {
	p := new(peer)
	for _, a := range addrs {
		p.addrs = append(p.addrs, netip.MustParsePrefix(a))
	}
	var err error
	if p.key, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	end, tunnel := wgtun.Pair(nil) // the conn of the Stack, and the "interface" of WireGuard
	if p.stack, err = stack.New(end, &stack.Config{Addrs: p.addrs}); err != nil {
		return nil, err
	}
	p.device = device.NewDevice(tunnel, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "wireguard: "))
	err = p.device.IpcSet(fmt.Sprintf("private_key=%x\nlisten_port=0\n", p.key.Bytes()))
	if err == nil {
		err = p.device.Up()
	}
	if err != nil {
		p.device.Close()
		return nil, err
	}
	return p, nil
}

// meet makes other a peer of p, which may send from its addresses and no others.
func (p *peer) meet(other *peer) error {
	port, err := other.value("listen_port")
	if err != nil {
		return err
	}
	set := fmt.Sprintf("public_key=%x\nendpoint=127.0.0.1:%d\n", other.key.PublicKey().Bytes(), port)
	for _, a := range other.addrs {
		set += fmt.Sprintf("allowed_ip=%v/%d\n", a.Addr(), a.Addr().BitLen())
	}
	return p.device.IpcSet(set)
}

// value is a number in the state of p's device.
func (p *peer) value(key string) (uint64, error) {
	state, err := p.device.IpcGet()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(state) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return strconv.ParseUint(v, 10, 64)
		}
	}
	return 0, errors.New("the device does not say its " + key)
}

// report tells what WireGuard has carried.
func report(server, client *peer, stdout io.Writer) error {
	for _, p := range []struct {
		name string
		peer *peer
	}{{"client", client}, {"server", server}} {
		rx, err := p.peer.value("rx_bytes")
		if err != nil {
			return err
		}
		tx, err := p.peer.value("tx_bytes")
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: %.1f MiB encrypted, %.1f MiB decrypted\n", p.name, float64(tx)/(1<<20), float64(rx)/(1<<20))
	}
	return nil
}
