// Package tcp hands out the TCP connections that a stack extracts.
//
// A [Stream] is one of them, a net.Conn with everything that a TCP socket has; an
// acceptor is where accepted ones come from. Both are made by package stack: the
// constructors here take types that nobody outside the module can name.
//
// # Ends
//
// As for any accepted net.Conn, LocalAddr is the address that the client dialled,
// whatever host it belongs to, and RemoteAddr is the client. Source and
// Destination say the same as netip.AddrPort. For a stream dialled from inside
// the stack Source and LocalAddr are our own end.
//
// # Accepting
//
// An [Acceptor] is a net.Listener, and Acceptor.Streams a channel of the same
// streams for use in a select. By default a stream is handed out once its
// handshake is complete. With Config.LazyHandshake it is handed out on its SYN, so
// that the application can look first whether what the client wants can be had:
// Handshake answers the SYN, and so do the first Read and Write; Reject refuses it
// in the way that fits an error. Accept returns established streams in either case.
//
// A SYN needs a place in the accept queue, one among the handshakes under way and
// one among the open streams; the latter two are limited for the whole stack, for
// each source and for each destination, and an eighth of each is kept for sources
// that hold fewer than 16, so that one client that scans, floods or has many dead
// peers keeps nobody else out. Whatever is refused is counted by its cause. The
// defaults of all limits stand at [Config].
//
// # Writing
//
// Small Writes are collected: those that follow one another closely travel
// together, up to Config.WriteBuffer, and one that comes after a pause, or after
// something was read, is sent at once. Nothing that Write accepted is lost by
// Close, CloseWrite or a passed deadline; Flush waits until all of it was handed
// to the network stack.
//
// # Ending
//
// Read returns io.EOF when the peer ended its side in order, and never otherwise:
// a reset is ECONNRESET, from every call and for ever, behind the bytes that came
// before it. After the application's own Close calls return net.ErrClosed, after
// CloseWrite a Write returns EPIPE, after CloseRead a Read returns net.ErrClosed.
// Every method returns a *net.OpError whose cause errors.Is finds; its Timeout is
// true for passed deadlines and for nothing else.
//
// Close never waits. The stack keeps what was closed until the peer has
// acknowledged it, at most for Config.CloseTimeout.
package tcp
