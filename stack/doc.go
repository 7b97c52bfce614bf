// Package stack owns the actor: one Stack over one packet conn, and its life.
//
// A Stack reads raw IP packets from an l3conn.Conn and turns them into TCP
// streams and UDP sockets, whatever address they were meant for:
//
//	s, err := stack.New(conn, nil)
//	go s.Run(ctx)
//	st, err := s.TCP().AcceptStream(ctx)   // *tcp.Stream, a net.Conn
//	sock, err := s.UDP().AcceptSocket(ctx) // *udp.Socket, a net.PacketConn
//
// The other way, DialContext, Listen and ListenPacket reach hosts behind the
// packet conn from inside the Stack; they fit net.Dialer's and
// net.ListenConfig's places in http.Transport, net.Resolver and others.
//
// # Life
//
// New starts nothing. Run owns every goroutine, and returns once all have ended:
// with nil after Close, with the context's cause when its context ended, else
// with the error of the conn. Dial before Run waits for it, and so do Accepts. A
// second Run is an error. Close before Run makes Run return nil.
//
// When a Stack ends, a Read of the conn may be blocked. If the conn has
// SetReadDeadline it is ended that way, and the conn stays open and its owner's;
// else the Stack closes the conn, as an http.Server closes its listener. A conn
// that has neither keeps one goroutine in its Read until that returns: the
// packet it brings is not touched, and Stats().Abandoned counts it.
//
// # ICMP and other protocols
//
// Pings to the Stack's own addresses are always answered. What happens to others says
// Config.ICMP.Echo: by default they go to whoever has called ICMP, which
// adapters/forward does to ping their targets, and where nobody has, or may, they are
// not answered: a pong for a host that may be dead would be a lie. To a client the Stack
// is a router, if it has an address of the client's family: a packet whose hops end here
// is answered "time exceeded". A protocol that is neither TCP, UDP nor ICMP is
// "protocol unreachable" (IPv4 3/2, IPv6 a parameter problem, 4/1), unless ListenPacket
// has a raw conn for it. ICMP errors of clients are believed as RFC 5927 says; one about
// a datagram is the next error of the udp.Socket that sent it, unless it says that a port
// or a protocol is unreachable and is not from that very host, or quotes what the
// Socket's filtering forbids.
//
// # Multicast and broadcast
//
// TCP to many is dropped, and so is any protocol but UDP and ICMP. The many are multicast
// groups, 255.255.255.255 and the broadcast addresses of the networks in Config.Addrs;
// any other directed broadcast cannot be told from a host. UDP to many is dropped unless
// udp.Config.Multicast gives it to Sockets, which cannot answer from such an address.
// Pings to many are never answered, nor is anything else that was
// sent to many reported. Each case is counted. A conn that carries multicast mostly brings
// all of it; for one behind which routers want to know who is a member there is
// Config.Groups. Queries and reports of others are dropped and counted.
//
// # Fragments
//
// They are put together by the engine, which holds at most 4 MiB for each IP version,
// and of one source at most a quarter of that. One that overlaps another, contradicts
// it, is too small to hold its transport header, or would overwrite one is refused.
//
// # Limits and defaults
//
// Every queue is bounded and every drop is counted by cause, see Stats. The
// defaults of the limits stand in the comments of Config, tcp.Config and
// udp.Config. Sources are told apart by Config.SourceKey, by default one IPv4
// address and one IPv6 /64.
//
//	What                         Default        Where
//	memory of flows and data     1 GiB          Config.MemoryLimit
//	packet size                  conn's, 1500   Config.MTU
//	streams waiting for Accept   2048           tcp.Config.AcceptQueue
//	handshakes in flight         2048           tcp.Config.MaxHandshakes
//	... of one source            1024           tcp.Config.MaxHandshakesPerSource
//	... to one destination       64             tcp.Config.MaxHandshakesPerDestination
//	open streams                 65536          tcp.Config.MaxStreams
//	write buffer of a stream     16 KiB         tcp.Config.WriteBuffer
//	handshake, decision          10 s, 30 s     tcp.Config.HandshakeTimeout, DecideTimeout
//	closing                      30 s           tcp.Config.CloseTimeout
//	UDP sockets                  32768          udp.Config.MaxSockets
//	... of one source            no limit       udp.Config.MaxSocketsPerSource
//	queue of a UDP socket        1 MiB, 1024    udp.Config.QueueBytes, QueueDatagrams
//	UDP idle, one shot, DNS      5 min, 30 s, 10 s  udp.Config
//	ICMP errors of one source    100 a second * not configurable
//	... and to one source        100 a second * not configurable
//	pings waiting for AcceptEcho 128            ICMPConfig.EchoQueue
//	... of one source            1000 a second* not configurable
//	queue of a raw conn          1 MiB, 256     not configurable
//	fragments, for each IP       4 MiB          not configurable
//	... of one source            1 MiB          not configurable
//	transmit queue               2 MiB, then streams wait; 4 MiB of UDP; 256 KiB of RST and ICMP
//
// * Sources are hashed to 256 such rates, differently in each Stack: that bounds the
// memory, whatever addresses are forged, and two sources that meet share one rate. With
// ten busy sources one in thirty shares, with a hundred one in three.
package stack
