// Package socks4 is an outbound through a SOCKS4 proxy, by its CONNECT command: IPv4
// destinations only, and names too with the extension 4a, by which the proxy resolves
// them. It carries no datagrams.
//
// DialContext returns the plain conn of its own Dialer. A SOCKS4 proxy does not say
// why it refuses, so that is "connection refused" for all errors of a destination but
// for one of IPv6, which is EAFNOSUPPORT.
package socks4
