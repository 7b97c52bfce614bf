// Package forward serves a stack by dialling out: every stream and socket that
// the stack extracts is joined with a connection or socket of the host, or of
// whatever the Dialer and PacketListener stand for.
//
//	s, err := stack.New(conn, &stack.Config{TCP: tcp.Config{LazyHandshake: true}})
//	srv := &forward.Server{Dialer: new(direct.Dialer)}
//	go srv.Serve(ctx, s)
//	err = s.Run(ctx)
//
// # Outbounds
//
// [Server].Route says by which outbound each flow goes; l3extract/adapters/router is one
// by rules. Outbounds are the Dialers and PacketListeners of l3extract/adapters/outbound:
// a proxy's client is one, direct.Dialer another. Each of them gets a context with the
// Flow that it serves. What an outbound cannot carry is refused, and never sent by
// another: the flow sees "administratively prohibited".
//
// # TCP
//
// A stream is dialled before its handshake when the stack has
// [l3extract/tcp.Config].LazyHandshake, as it should: then a port that refuses
// is refused to the client too (RST), a host that cannot be reached is
// unreachable (ICMP), and one that does not answer leaves the client waiting
// until its own time-out. Without it a client is connected first and reset when
// the dial fails.
//
// The relay passes bytes, the ends of both directions (half-close) and resets on.
// On Linux one event loop serves all connections whose upstream is a *net.TCPConn:
// none of them has a goroutine, nor a buffer while it is idle. A direct.Dialer does
// not even wait in a goroutine for its dial. The loop takes the socket over: whoever
// has kept the net.Conn that a Dialer returned finds it closed. For any other upstream
// a connection has three goroutines, and a buffer of 32 KiB unless it is a
// *net.UnixConn on Linux.
//
// Two things give dial-first up, each for the streams that ask for it: Server.Sniff, which
// looks at what a client says first for the host name that Route may want, and
// Target.Optimistic, which lets a client's first bytes travel with the dial.
//
// # UDP
//
// Each [l3extract/udp.Socket] has one upstream socket by each outbound that it uses,
// mostly one, whatever it talks to, so that the mapping towards the world is as
// endpoint-independent as the stack's own (RFC 4787). Where a Socket's destinations go is
// asked once for each, as long as it remembers the last 64. An upstream socket lives as long as the Socket, whose idle timeout is the
// stack's udp.Config. Sockets mapped PerDestination are refused: replies to their
// many clients could not be told apart. Hairpinning is the upstream's matter: two
// clients that know each other's upstream addresses reach each other as far as the
// host lets them.
//
// If the upstream is a *net.UDPConn on Linux, an idle Socket has neither a goroutine
// nor a buffer: one goroutine receives for all of them, and what clients send is sent
// on by the goroutine that reads the stack's conn, many datagrams with one system
// call. A full upstream socket is waited for while the Socket's queue fills. For any
// other upstream a Socket has two goroutines and a buffer of 64 KiB; the one that sends
// is there only while there is something to send if RouteNeverWaits. A Handler has
// neither. If an upstream socket breaks, as when a proxy ends its association, what went by
// it gets another; a Socket that has no other left ends with the cause reset by upstream,
// and the client's next datagram begins anew.
//
// A target with a name goes to its outbound as an outbound.Name, which a proxy resolves;
// a *net.ListenConfig and a direct.Dialer have it resolved here. From which address a
// proxy will answer is not known, so what comes from the port of a name is taken to be
// its answer, and given to the client from the destination that stands for the name. A
// second name on the same port therefore has an upstream socket of its own. A Socket has
// at most 16; what would need more is refused, and counted (Stats.DatagramsOver).
//
// A TTL or hop limit below 34 is kept, less the stack's own hop: it is somebody's
// traceroute. ICMP errors that upstream reports about a datagram (on Linux, of a
// *net.UDPConn) are passed on to the client in the name of the router that sent them, so
// that traceroute and path-MTU discovery work, if they are about one of the 64 targets
// that the client has asked last: any host can forge others. What the host has no room
// to send is lost, as in any network, and counted.
//
// # Pings
//
// A ping to another address than the stack's own is sent to its target, by a ping socket
// or a raw one (see [PingListener]), with its payload and, less one hop, its TTL. The
// client gets the target's answer, with the identifier and sequence number of its own,
// or the ICMP error that a router reports, or nothing: never an answer that nobody gave.
// A session has two sockets and three goroutines for all pings. Where the process may
// not send any, that is logged once, and pings are not answered; after a passing error,
// such as too many open files, it is tried again. Linux only.
//
// # Ways that are lost, and ways that lead back
//
// When the interface by which upstreams leave goes, [Server.EndVia] ends what would wait
// for it, and gives datagrams and pings new sockets. Where the host's own routes lead into
// the tunnel, and nothing exempts our sockets, what is dialled comes back as a client's
// next flow: a connection is found out when the second one to its destination comes while
// the first is being dialled, and a datagram at once, on Linux. Such a flow is refused as
// unreachable, with the cause [l3extract/stack.Loop], counted in Stats.Looped, and one line
// of the log says what to do.
//
// # Who may be reached
//
// [Policy] judges the address that is really dialled. What it forbids is answered
// with "administratively prohibited" (ICMP), and the flow ends with the cause
// [l3extract/stack.Policy]. The zero Policy keeps the clients away from the
// host's loopback, from link-local addresses (cloud metadata), from multicast and
// from the stack's own addresses.
//
// # How flows end
//
// Every flow ends with a cause, see [l3extract/stack.Cause]: closed when both
// ends finished, reset by client, reset by upstream, dial failed, policy, limit,
// idle, timed out, shutdown, or what Stack.Kill or an error of Route said.
//
// # Defaults
//
// Zero is the default; a negative number means no limit, or never.
//
//	DialTimeout             10 s
//	IdleTimeout             2 h 4 min   RFC 5382, REQ-5
//	HalfCloseTimeout        4 min       RFC 5382, REQ-5
//	MaxDials                1024
//	MaxDialsPerDestination  64
//	PingTimeout             10 s
//	MaxPings                1024
//	MaxPingsPerSource       128
package forward
