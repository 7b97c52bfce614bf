// Package socks5 is an outbound through a SOCKS5 proxy: CONNECT for connections and
// UDP ASSOCIATE for datagrams (RFC 1928), with no authentication or with a user name
// and password (RFC 1929). Names are passed to the proxy and resolved there.
//
// DialContext returns when the proxy has reached the destination. What it returns is
// what its own Dialer returned, a plain *net.TCPConn mostly: not a byte beyond the
// handshake is read. What the proxy says of the destination is the error, so that
// errors.Is finds in it what a direct dial would have said:
//
//	X'01' general failure          EHOSTUNREACH
//	X'02' not allowed              EACCES
//	X'03' network unreachable      ENETUNREACH
//	X'04' host unreachable         EHOSTUNREACH
//	X'05' connection refused       ECONNREFUSED
//	X'06' TTL expired              ETIMEDOUT
//	X'07' command not supported    EOPNOTSUPP, and outbound.ErrProxy
//	X'08' address type             EAFNOSUPPORT
//
// What goes wrong with the proxy itself matches outbound.ErrProxy and none of these
// but ENETUNREACH, or EACCES when it refuses the credentials.
//
// A handshake takes a round trip to connect and one each for the greeting, the
// password and the request. Dialer.Pipeline makes one of the last three, Dialer.Pool
// leaves the request alone. Both are off by default: not every proxy can take the
// former (see Pipeline), and the latter keeps connections open at the proxy. DialEarly
// does not wait for the proxy's answer to the request at all.
//
// # Datagrams
//
// ListenPacket makes one association, that is one connection to the proxy and one
// socket, for as many destinations as its user likes. It ends when the proxy ends the
// connection, as RFC 1928 says. WriteTo takes a *net.UDPAddr, an outbound.Name, or
// any net.Addr that prints as host:port; ReadFrom returns a *net.UDPAddr, or an
// outbound.Name if the proxy says a name. A fragment is dropped and counted, and so
// is what does not come from the proxy.
package socks5
