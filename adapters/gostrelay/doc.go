// Package gostrelay is an outbound through a gost server by its relay protocol, which
// tun2socks calls relay://: connections, and datagrams over a connection for each
// destination. The protocol is that of go-gost/relay, version 1.
//
// DialContext returns when the server has reached the destination, with the plain conn
// of its own Dialer. What the server says is the error:
//
//	1 bad request           outbound.ErrProxy
//	2 unauthorized          EACCES, and outbound.ErrProxy
//	3 forbidden             EACCES
//	4 timeout               ETIMEDOUT
//	5 service unavailable   EHOSTUNREACH; gost says so of a refused connection too
//	6 host unreachable      EHOSTUNREACH
//	7 network unreachable   ENETUNREACH
//	8 internal error        outbound.ErrProxy
package gostrelay
