// Package framed carries packets over a byte stream, each behind its length: over
// a TCP or TLS connection, a WebSocket, a channel of ssh, or stdin and stdout of a
// child process.
//
//	conn, err := framed.New(stream, &framed.Config{Keepalive: 15 * time.Second})
//	s, err := stack.New(conn, nil)
//
// The length is two bytes, big endian, unless Config.Format says otherwise; it
// counts the packet alone. A length of 0 is a keepalive: it is read and counted in
// any case, and written when Config.Keepalive asks for it. A length that no packet
// of the link can have, below an IP header or above the MTU, means that the ends do
// not speak the same format or have lost each other: a *LengthError, and the end of
// the conn, because nothing behind it can be trusted.
//
// # What it costs
//
// There is no goroutine and, without keepalives, no timer. One Read of the stream
// takes as many frames as have come, one Write sends as many as a WriteBatch or
// WriteSegments gives and the buffer holds; both buffers are allocated once, by the
// first use. A Write returns when the stream has taken its bytes: a slow link makes
// its writers wait, and nothing is dropped. Segments of l3conn.Offloader are cut
// right into the buffer.
//
// TCP within TCP has two retransmissions, one above the other. Over a link that
// loses much, package datagram does better; where only a stream gets through, this
// is the way.
//
// # Deadlines
//
// A deadline that passes within a frame loses nothing: what was read stays, and
// what is left of the frame goes out before the next one. Streams that do not
// survive a deadline cannot do that: a Write of TLS (which is known), any call of
// coder/websocket's NetConn (see Config.NoDeadlines). There the ability is missing,
// as l3conn.Probe shows, and Close ends a blocked call.
//
// # Ends
//
// io.EOF is the end of the stream between two frames. Within one it is an error
// that matches io.ErrUnexpectedEOF. Every other error of the stream ends the conn.
package framed
