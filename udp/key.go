package udp

import "net/netip"

// key is what a datagram is looked up by: the ends that the mapping fixes. It
// is flat memory, which a map hashes in one go; addresses of the two families
// cannot meet, because the door lets no IPv4-mapped address in.
type key struct {
	peer, local         [16]byte
	peerPort, localPort uint16
}

// keyOf returns the key of the mapping for a datagram from peer to local.
func keyOf(m Mapping, peer, local netip.AddrPort) key {
	var k key
	if m != PerDestination {
		k.peer, k.peerPort = peer.Addr().As16(), peer.Port()
	}
	if m != PerSource {
		k.local, k.localPort = local.Addr().As16(), local.Port()
	}
	return k
}
