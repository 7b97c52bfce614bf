package fakeip_test

import (
	"fmt"
	"net/netip"

	"l3extract/adapters/fakeip"
)

func Example() {
	pool, err := fakeip.New(&fakeip.Config{V4: netip.MustParsePrefix("198.18.0.0/16")})
	if err != nil {
		panic(err)
	}
	client := netip.MustParseAddr("10.0.0.1")
	v4, v6, err := pool.Assign(client, "www.example.com")
	if err != nil {
		panic(err)
	}
	for _, a := range []netip.Addr{v4, v6} {
		name, ok := pool.Name(a)
		fmt.Println(name, ok)
	}
	// Output:
	// www.example.com true
	// www.example.com true
}
