// Package netstack owns the engine: gVisor's TCP, and nothing else of the
// project may import gVisor. It turns validated packets into TCP endpoints that
// never wait, and the segments these send into packets for the link.
//
// No gVisor type appears in an exported signature, because gVisor has no stable
// versions. Nothing here blocks except Engine.Handshake and Engine.Dial, which
// wait for the peer.
//
// Inside the package gVisor's packages have fixed names: gstack (pkg/tcpip/stack),
// gtcp (transport/tcp), gtcpip, gheader, gbuffer, gwaiter.
package netstack
