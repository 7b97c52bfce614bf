// Package httpconnect is an outbound through an HTTP proxy, by its CONNECT method (RFC
// 9110, section 9.3.6): over TCP, over TLS, or over a Unix socket, with basic
// authentication or none. It carries no datagrams.
//
// Over TCP, DialContext returns a plain *net.TCPConn, of which not a byte beyond the
// proxy's answer was read; over TLS a *tls.Conn. Names are resolved by the proxy. Its
// answer is what errors.Is finds in the error:
//
//	403, 451                               EACCES
//	404, 410, 500, 502, 503 and their like EHOSTUNREACH
//	408, 504                               ETIMEDOUT
//	407, and 401                           EACCES, and outbound.ErrProxy
//	400, 405, 501, 505 and their like      EOPNOTSUPP, and outbound.ErrProxy
//
// HTTP has no status for a refused connection. Where Squid (X-Squid-Error) or RFC 9209
// (Proxy-Status) tell more than the status does, that counts.
package httpconnect
