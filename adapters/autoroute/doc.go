// Package autoroute leads a host's traffic into a TUN interface, and undoes all of
// it (Linux; Setup elsewhere says errors.ErrUnsupported).
//
//	routes, err := autoroute.Setup(&autoroute.Config{Device: dev.Name()})
//	...
//	err = routes.Close()
//
// It works with policy rules and a routing table of its own, by netlink, and leaves
// the main table alone. In the order of their priority the rules say:
//
//	the mark of our own sockets              as the host routes without us: no loop
//	excluded users                           the same
//	DNS (ports 53 and 853, UDP and TCP)      into the tunnel, also to a resolver on the LAN
//	excluded destinations                    as the host routes without us
//	what main has a route of its own for     by that: the LAN stays reachable
//	multicast, broadcast                     as the host routes without us
//	everything else                          into the tunnel
//
// Both families are always taken. One that the tunnel has no address for is
// unreachable, and never goes around the tunnel.
//
// What is here outlives the process when that is killed: without Config.Strict it is
// harmless then, as its table is empty when the interface has gone, but for a family
// that was made unreachable; with it, nothing goes around the tunnel while nobody
// serves it. The next Setup takes over what it finds without opening a gap, and
// Cleanup removes it. Rules and routes carry a protocol number (Protocol), by which
// they are known; a file holds what cannot be known so: the resolv.conf that was
// replaced, and reverse-path filters that were loosened. The resolv.conf of ours keeps
// in comments what it has replaced, as that file is lost when the host crashes.
package autoroute
