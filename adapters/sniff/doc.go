// Package sniff finds the host name that a client asks for in the first bytes of a
// connection: in a TLS ClientHello (the server name of RFC 6066, section 3) or in an
// HTTP/1 request (the Host of RFC 9112, section 3.2). What it finds is what the client
// says, and no more: good for choosing a way, not for trusting anybody.
//
//	host, done := sniff.Host(first, false)
//
// crypto/tls and net/http do the parsing. Both read nothing but the bytes given, and
// nothing is answered.
package sniff
