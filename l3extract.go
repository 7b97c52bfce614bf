// Package l3extract is the door plate of a module that turns raw IP packets into ordinary Go connections.
//
// Give [l3extract/stack.New] an io.ReadWriter that carries one IP packet per call: a TUN device, a WireGuard or any other
// tunnel, a pipe in memory. It gives back a net.Conn for every TCP connection and a net.PacketConn for every UDP
// conversation that it finds in those packets, whatever address they were meant for, and it dials out through them as
// well. No privileges, no kernel TCP, no process-wide state.
//
// # Where things are
//
//   - l3extract/stack: the Stack, an actor over one packet conn, and its life
//   - l3extract/tcp: Stream (a net.Conn) and Acceptor (a net.Listener)
//   - l3extract/udp: Socket (a net.PacketConn) and its Acceptor
//   - l3extract/icmp: Echo (a ping of a client) and its Acceptor
//   - l3extract/l3conn: what carries packets: the contract, a pipe, TUN devices, capture
//   - l3extract/adapters: what an application puts on a Stream or a Socket, such as forwarding it to the real network
//   - l3extract/examples: programs, of which l3run runs any command with all its traffic extracted
package l3extract

import (
	"l3extract/stack"
	"l3extract/tcp"
	"l3extract/udp"
)

// The names of l3_extract, the Rust crate whose shape this module follows, so that whoever looks for one of them finds it.
// New code names the packages.
type (
	TcpStack    = stack.Stack  // the actor: New builds it, Run is it
	TcpStream   = tcp.Stream   // a net.Conn
	TcpAcceptor = tcp.Acceptor // a net.Listener
	UdpSocket   = udp.Socket   // a net.PacketConn
	UdpAcceptor = udp.Acceptor // hands out UdpSockets
)
