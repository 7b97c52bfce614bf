// Package sshtunnel is an outbound through an SSH server, by the direct-tcpip channels
// of RFC 4254 (section 7.2) that "ssh -L" and "ssh -D" use. It carries no datagrams.
//
// All connections of a Dialer share one SSH connection, which is made for the first of
// them and made anew for the next when it has ended. Who answers must prove to be the
// server: by a known_hosts file, by a fingerprint, or not at all if Insecure says so.
// Names are resolved by the server. The protocol is that of golang.org/x/crypto/ssh.
//
// What DialContext returns is a channel of that connection, with half-close. When a
// deadline for writing passes while the server takes nothing, the conn ends.
package sshtunnel
