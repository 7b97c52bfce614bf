// Package router chooses the way of each flow by rules: the first that matches names an
// outbound.
//
//	r, err := router.New(&router.Config{
//		Outbounds: []router.Outbound{{Name: "direct", Dialer: d}, {Name: "proxy", Dialer: p}},
//		Rules:     []router.Rule{{Domains: []string{"*.example.com"}, Outbound: "direct"}},
//		Default:   "proxy",
//	})
//	srv := &forward.Server{Route: r.Route, RouteNeverWaits: true, Sniff: r.Sniff}
//
// # Names
//
// A flow's name is what Config.Names says of its destination: a fake address stands for
// one name only, a real one for what this source was told last. If there is none it is
// what the client said first, where Sniff had that looked at. A fake address is dialled
// by its name; any other by the address that the client dialled, since a client may say
// any name. A fake address that stands for no name is refused, a stream by RST, and the
// flow ends with the cause [Unnamed].
//
// # What an outbound cannot do
//
// A flow that the outbound of its rule cannot carry is refused, never sent by another:
// streams without a Dialer, datagrams without a PacketListener or Handler, pings without
// a [l3extract/adapters/forward.PingListener], the family that a proxy does not reach.
//
// # Failover
//
// [Failover] is an outbound over several: the first that is well. A Router asks it for
// each flow.
package router
