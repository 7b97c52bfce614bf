// Package group tells the routers on a link which multicast groups a host is a
// member of: IGMPv3 (RFC 9776) and MLDv2 (RFC 9777), any source, and what came before
// them (RFC 2236, RFC 1112, RFC 2710) for as long as an older router asks. It owns no
// socket: what comes for the groups is given to whoever listens.
package group
