package main

import (
	"fmt"
	"net/netip"
	"strings"

	"l3extract/l3conn/wgtun"
)

// String is the configuration as parseConfig reads it.
func (c *config) String() string {
	var b strings.Builder
	b.WriteString("[Interface]\n")
	fmt.Fprintf(&b, "PrivateKey = %v\n", c.private)
	list(&b, "Address", c.addrs)
	if c.port != 0 {
		fmt.Fprintf(&b, "ListenPort = %d\n", c.port)
	}
	if c.mark != 0 {
		fmt.Fprintf(&b, "FwMark = %#x\n", c.mark)
	}
	if c.mtu != wgtun.DefaultMTU {
		fmt.Fprintf(&b, "MTU = %d\n", c.mtu)
	}
	list(&b, "DNS", c.dns)
	for i := range c.peers {
		b.WriteString("\n" + c.peers[i].String())
	}
	return b.String()
}

// String is the section of the peer.
func (p *peerConfig) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Peer]\nPublicKey = %v\n", p.public)
	if p.shared != (key{}) {
		fmt.Fprintf(&b, "PresharedKey = %v\n", p.shared)
	}
	list(&b, "AllowedIPs", p.allowed)
	if p.endpoint != "" {
		fmt.Fprintf(&b, "Endpoint = %s\n", p.endpoint)
	}
	if p.keepalive != 0 {
		fmt.Fprintf(&b, "PersistentKeepalive = %d\n", p.keepalive)
	}
	return b.String()
}

func list[T netip.Addr | netip.Prefix](b *strings.Builder, name string, values []T) {
	for i, v := range values {
		if i == 0 {
			b.WriteString(name + " = ")
		} else {
			b.WriteString(", ")
		}
		fmt.Fprint(b, v)
	}
	if len(values) > 0 {
		b.WriteString("\n")
	}
}

// device is the configuration in the words of wireguard-go (its UAPI). The endpoints
// of its peers are addresses already.
func (c *config) device() string {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%x\nlisten_port=%d\n", c.private[:], c.port)
	if c.mark != 0 {
		fmt.Fprintf(&b, "fwmark=%d\n", c.mark)
	}
	b.WriteString("replace_peers=true\n")
	for _, p := range c.peers {
		fmt.Fprintf(&b, "public_key=%x\n", p.public[:])
		if p.shared != (key{}) {
			fmt.Fprintf(&b, "preshared_key=%x\n", p.shared[:])
		}
		if p.endpoint != "" {
			fmt.Fprintf(&b, "endpoint=%s\n", p.endpoint)
		}
		if p.keepalive != 0 {
			fmt.Fprintf(&b, "persistent_keepalive_interval=%d\n", p.keepalive)
		}
		for _, a := range p.allowed {
			fmt.Fprintf(&b, "allowed_ip=%v\n", a)
		}
	}
	return b.String()
}
