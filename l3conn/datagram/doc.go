// Package datagram carries one packet per datagram: over UDP, or a Unix datagram
// socket.
//
//	socket, err := net.Dial("udp", "192.0.2.1:4500")
//	conn, err := datagram.NewConnected(socket, nil)
//
// # The peer
//
// A connected socket has one peer, and the system drops what others send. A socket
// of New has the one of Config.Peer, or learns it from the first packet; whatever
// comes from anybody else is counted as a stranger's and dropped. Only with
// Config.Roam may the peer change its address. Nothing here is encrypted or
// authenticated: whoever can forge the peer's address can send packets, and with
// Roam anybody can who guesses what Config.Admit believes. Across a network that
// others use, put it under something that authenticates.
//
// # What passes
//
// Most errors of a datagram socket say something about one packet or the present:
// nobody listens at the peer (ECONNREFUSED), there is no route, the queue of the
// interface is full, a packet filter says no. They are counted, by cause, and the
// packet is lost, as IP packets are; the conn lives on, and a Read does not even
// return. Any other error is the end.
//
// # What it costs
//
// On Linux a UDP socket is read and written by recvmmsg and sendmmsg, several packets
// per call, and a run of equal ones is one message to the kernel (UDP_SEGMENT,
// UDP_GRO) that it cuts as late as it can. There is no goroutine. A Write waits while
// the socket's buffer is full, as any net.Conn's. Elsewhere, and for other sockets, a
// packet costs a call.
package datagram
