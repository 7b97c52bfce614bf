// Package socksaddr owns the addresses of SOCKS5 (RFC 1928, section 5), which
// Shadowsocks uses too: an IPv4 address, an IPv6 address or a name, and a port.
package socksaddr
