package router_test

import (
	"fmt"
	"log"
	"net/netip"

	"l3extract/adapters/direct"
	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/adapters/router"
)

// The local network directly, all else by one proxy or the other.
func ExampleRouter() {
	check := router.Reachable(new(direct.Dialer), "tcp", "192.0.2.1:1080")
	proxies, err := router.NewFailover(&router.FailoverConfig{
		Name: "proxies",
		Outbounds: []router.Outbound{ // the Dialers of proxies, in a program
			{Name: "first", Dialer: new(direct.Dialer), Check: check},
			{Name: "second", Dialer: new(direct.Dialer), Check: check},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer proxies.Close()
	r, err := router.New(&router.Config{
		Outbounds: []router.Outbound{
			{Name: "direct", Dialer: new(direct.Dialer)},
			{Name: "proxies", Dialer: proxies},
		},
		Rules: []router.Rule{
			{Destinations: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}, Outbound: "direct"},
			{Domains: []string{".example.com"}, Ports: []router.PortRange{router.Port(443)}, Outbound: "direct"},
		},
		Default:    "proxies",
		SniffPorts: []router.PortRange{router.Port(443)},
	})
	if err != nil {
		log.Fatal(err)
	}
	srv := &forward.Server{Route: r.Route, RouteNeverWaits: true, Sniff: r.Sniff}
	_ = srv // srv.Serve(ctx, s)

	flow := outbound.Flow{Network: "tcp", Destination: netip.MustParseAddrPort("203.0.113.1:443"), Name: "www.example.com"}
	rule, name := r.Find(flow)
	fmt.Println(rule, name)
	// Output: 1 direct
}
