package outbound

import (
	"context"
	"net"
	"net/netip"
	"testing"
)

func TestFlow(t *testing.T) {
	if f, ok := FlowFrom(t.Context()); ok {
		t.Errorf("a context without a flow has %v", f)
	}
	want := Flow{Network: "tcp", Source: netip.MustParseAddrPort("10.0.0.1:1"), Destination: netip.MustParseAddrPort("[2001:db8::1]:443"), Name: "example.com"}
	ctx, cancel := context.WithCancel(WithFlow(t.Context(), want))
	defer cancel()
	if f, ok := FlowFrom(ctx); !ok || f != want {
		t.Errorf("got %v, %v, want %v", f, ok, want)
	}
}

func TestName(t *testing.T) {
	var a net.Addr = Name{Host: "example.com", Port: 53}
	if a.Network() != "udp" || a.String() != "example.com:53" {
		t.Errorf("got %q %q", a.Network(), a.String())
	}
	if a != net.Addr(Name{Host: "example.com", Port: 53}) {
		t.Error("two equal names differ")
	}
}
