package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"l3extract/adapters/dns"
	"l3extract/adapters/fakeip"
	"l3extract/adapters/outbound"
)

// A resolver that gives every name a fake address, asked by the standard library over
// a connection in memory; and what the address stands for.
func Example() {
	pool, err := fakeip.New(nil)
	if err != nil {
		panic(err)
	}
	server, err := dns.New(&dns.Config{Fake: pool})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	client := netip.MustParseAddrPort("10.0.0.1:40000")
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
		return server.DialContext(outbound.WithFlow(ctx, outbound.Flow{Network: "tcp", Source: client}), "tcp", address)
	}}
	addrs, err := resolver.LookupNetIP(context.Background(), "ip4", "www.example.com.")
	if err != nil {
		panic(err)
	}
	v4, _ := pool.Prefixes()
	name, fake, ok := server.NameOf(client.Addr(), addrs[0])
	fmt.Println(v4.Contains(addrs[0].Unmap()), name, fake, ok)
	// Output: true www.example.com true true
}
