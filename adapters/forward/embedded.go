package forward

import "net/netip"

// The prefixes of IPv6 addresses that carry an IPv4 address. A translator or a
// tunnel behind the host makes the one of the other, so that a ban of the one
// means nothing without the other.
var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, 2.5.5.1
)

// embedded returns the IPv4 addresses that a may stand for: none for nearly all.
func embedded(a netip.Addr) []netip.Addr {
	b := a.As16()
	switch {
	case nat64.Contains(a), translated.Contains(a):
		return []netip.Addr{v4At(b[:], 12)}
	case compatible.Contains(a):
		if a := v4At(b[:], 12); !thisNetwork.Contains(a) { // as :: and ::1 would
			return []netip.Addr{a}
		}
	case sixToFour.Contains(a):
		return []netip.Addr{v4At(b[:], 2)}
	case teredo.Contains(a): // the server, and the client with its bits turned
		client := [4]byte{^b[12], ^b[13], ^b[14], ^b[15]}
		return []netip.Addr{v4At(b[:], 4), netip.AddrFrom4(client)}
	case localNAT64.Contains(a):
		return localReadings(b)
	}
	return nil
}

// localReadings returns the ways to read an address of the local NAT64 prefix,
// of which an operator may use a longer part (RFC 6052, 2.2; byte 8 is always
// skipped). What reads as 0.0.0.0/8 is the zeros of another reading.
func localReadings(b [16]byte) []netip.Addr {
	all := []netip.Addr{
		netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}),  // /48
		netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}), // /56
		v4At(b[:], 9),  // /64
		v4At(b[:], 12), // /96
	}
	var found []netip.Addr
	for _, a := range all {
		if !thisNetwork.Contains(a) {
			found = append(found, a)
		}
	}
	return found
}

func v4At(b []byte, i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
