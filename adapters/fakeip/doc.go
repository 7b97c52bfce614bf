// Package fakeip gives host names addresses that stand for them: a resolver answers
// with an address of the pool, and when a client connects to it the pool says which
// name was meant. So names go to a proxy as names, no query for them leaves the
// host, and a proxy that carries no datagrams serves clients that resolve by them.
//
//	pool, err := fakeip.New(nil)
//	v4, v6, err := pool.Assign(client, "example.com")
//	name, ok := pool.Name(v4)
//
// # Which address
//
// A name gets one place, and with it an address of each family: the n-th of the one
// prefix and the n-th of the other. Places are given out in turn, from a random one,
// through all of the smaller prefix: so what a client still remembers from before a
// restart, or of a name that was forgotten, mostly stands for no name (and is to be
// refused) instead of for another one.
//
// # How long
//
// The pool is bounded by Config.Size names. When it is full the name that was used
// least recently is forgotten: used means assigned again or asked for by Name. Three
// things keep an address from changing its meaning below somebody's hands:
//
//   - a name that was used within Config.Hold is not forgotten. Hold has to be longer
//     than the TTL with which the addresses are answered, since until then a client
//     may connect to one without asking again;
//   - nor is one that is pinned. Pin is for flows: call it when one to the address
//     opens, and Unpin when it has ended, as [l3extract/stack.Trace] tells it. Without
//     that a flow keeps its way, but the address can get another name while it lives. One
//     of datagrams opens with its first destination, so later ones have Hold alone;
//   - an eighth of the pool is kept for sources that hold no more than that, and who
//     holds more pays for new names with its own when the rest is full. So a client
//     that invents names takes no other's, and does not leave others without.
//
// If there is nothing that may be forgotten Assign returns ErrExhausted.
//
// # On disk
//
// Save and Load keep the map over a restart, by choice: it is a list of what was
// visited. What was assigned after the last Save stands for no name then. Save writes a
// file that only its owner may read, beside the old one, and renames it. A file that is
// damaged, or of another version or other prefixes, is refused as a whole, and the pool
// stays as it is.
//
// # Defaults
//
//	V4    198.18.0.0/15              RFC 2544: benchmarks, and in nobody's network
//	V6    fd6c:3366:616b:6500::/64   RFC 4193
//	Size  65536
//	Hold  60 s
package fakeip
