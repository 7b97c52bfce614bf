package ether

import (
	"errors"
	"io"
	"net"

	"l3extract/l3conn/datagram"
	"l3extract/l3conn/framed"
)

// Stream returns a carrier over a byte stream with frames behind their length of 32
// bits, big endian: qemu's -netdev stream and -netdev socket, over TCP or a Unix socket.
// Frames may be longer than the MTU, so that one that is too long costs itself and not the
// link. The stream is the carrier's from then on.
func Stream(stream io.ReadWriteCloser) (*framed.Conn, error) {
	return framed.New(stream, &framed.Config{Format: framed.Big32, MTU: maxFrame, MinFrame: headerLen})
}

// Datagram returns a carrier over a socket with one frame per datagram: qemu's -netdev
// dgram, over UDP or a Unix socket. peer is where qemu's end is (local.path, or local.host
// and local.port); datagrams from anywhere else are dropped. The socket is the carrier's
// from then on.
func Datagram(socket net.PacketConn, peer net.Addr) (*datagram.Conn, error) {
	if peer == nil {
		return nil, errors.New("ether: peer is nil: a datagram of Ethernet does not show whose it is")
	}
	return datagram.New(socket, &datagram.Config{Peer: peer, MTU: datagram.MaxMTU})
}
