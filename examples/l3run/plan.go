package main

import "net/netip"

// The addresses of the link between the command and the stack. Only these four
// are taken: the device has /32 and /128 addresses and a default route, so the
// rest of their networks stays reachable. 198.18.0.0/15 is for benchmarks (RFC
// 2544) and in nobody's LAN; the other prefix is a unique local one (RFC 4193),
// which makes address selection prefer IPv4 where a name has both, because the
// host may have no IPv6 at all.
var (
	insideAddrs = []netip.Addr{
		netip.MustParseAddr("198.18.37.1"),
		netip.MustParseAddr("fd6c:3372:756e::1"),
	}
	// stackAddrs are the stack's own. The first one answers DNS.
	stackAddrs = []netip.Addr{
		netip.MustParseAddr("198.18.37.2"),
		netip.MustParseAddr("fd6c:3372:756e::2"),
	}
)

// deviceName is the name of the TUN device inside.
const deviceName = "tun0"

// Exit codes of l3run itself, chosen as env(1) and timeout(1) choose theirs.
// Anything else is the command's.
const (
	exitUsage     = 2   // wrong flags
	exitSetup     = 125 // the namespaces or the stack could not be set up
	exitCannotRun = 126 // the command was found and could not be started
	exitNotFound  = 127 // the command was not found
	exitSignal    = 128 // plus the number of the signal that ended the command
)
