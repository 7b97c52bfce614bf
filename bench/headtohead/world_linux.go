package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// The addresses of a world. The server answers on every address of 10.98.1.0/24,
// the proxy on every one of 10.98.2.0/24, for the one with the same last byte.
const (
	serverNet = "10.98.1."
	proxyNet  = "10.98.2."
	clientNet = "10.98.3." // of the veth, and of programs that make an Ethernet
	port      = "7000"
	tunName   = "h2h0"
	setupTime = 20 * time.Second

	portNumber = 7000
	quicPort   = portNumber + 1
)

// world is the network of one visit.
type world struct {
	client, middle, server *netns

	beside []*process // what the program needs, and what does not count

	mtu   int
	limit time.Duration // after which what runs in it is ended
}

func newWorld(mtu int, limit time.Duration) (*world, error) {
	w := &world{mtu: mtu, limit: limit}
	for _, n := range []**netns{&w.client, &w.middle, &w.server} {
		var err error
		if *n, err = newNetNS(); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	err := errors.Join(
		w.client.quiet(), w.middle.quiet(), w.server.quiet(),
		w.middle.ip(
			"link set lo up",
			"link add out type veth peer name in netns "+w.server.path(),
			"addr add 10.98.0.1/24 dev out",
			w.up("out"),
			"route add "+serverNet+"0/24 via 10.98.0.2",
			"route add local "+proxyNet+"0/24 dev lo",
		),
		w.server.ip(
			"link set lo up",
			"addr add 10.98.0.2/24 dev in",
			w.up("in"),
			"route add local "+serverNet+"0/24 dev lo",
			fmt.Sprintf("route add blackhole %s%d/28 table local", serverNet, deadFirst), // nobody answers there
			"route add default via 10.98.0.1",
		),
		w.client.ip("link set lo up"),
		w.middle.sysctl("ipv4/ip_forward", "1"),
		w.middle.sysctl("ipv4/ip_local_port_range", "1024 65535"),
		w.client.sysctl("ipv4/ip_local_port_range", "1024 65535"),
	)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// close lets the namespaces go; the kernel takes them when nobody is in them.
func (w *world) close() error {
	w.stopBeside()
	var err error
	for _, n := range []*netns{w.client, w.middle, w.server} {
		if n != nil && n.f != nil {
			err = errors.Join(err, n.f.Close())
		}
	}
	return err
}

// veth connects client and middle by the kernel alone.
func (w *world) veth() error {
	return errors.Join(
		w.middle.ip(
			"link add near type veth peer name far netns "+w.client.path(),
			"addr add "+clientNet+"1/24 dev near",
			w.up("near"),
		),
		w.client.ip(
			"addr add "+clientNet+"2/24 dev far",
			w.up("far"),
			"route add default via "+clientNet+"1",
		),
	)
}

// up is the command that brings an interface up.
func (w *world) up(name string) string { return fmt.Sprintf("link set %s mtu %d up", name, w.mtu) }

// appear waits until the program p has made its interface in n.
func (w *world) appear(p *process, n *netns) error {
	deadline := time.Now().Add(setupTime)
	for {
		err := n.do(func() error {
			_, err := net.InterfaceByName(tunName)
			return err
		})
		if err == nil {
			break
		}
		if died := p.alive(); died != nil {
			return died
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(settleTime) // it may still be configuring the interface
	return nil
}

// moveTUN gives the TUN that the program p makes to the client.
func (w *world) moveTUN(p *process) error {
	if err := w.appear(p, w.middle); err != nil {
		return err
	}
	if err := w.middle.ip("link set " + tunName + " netns " + w.client.path()); err != nil {
		return err
	}
	return w.client.ip("addr add 198.18.0.1/30 dev "+tunName, w.up(tunName), "route add default dev "+tunName)
}

const settleTime = 500 * time.Millisecond

// sysctl sets a value of net. A thread sees its own namespace's there.
func (n *netns) sysctl(name, value string) error {
	return n.do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
}

// quiet keeps the kernel from talking IPv6 on its own, which would wake whatever
// waits for packets.
func (n *netns) quiet() error {
	err := n.sysctl("ipv6/conf/default/disable_ipv6", "1")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
