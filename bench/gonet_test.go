package bench

import (
	"context"
	"net"
	"net/netip"
	"testing"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	gipv4 "gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	gwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// rival is two stacks of the engine's, wired as most programs do: channel
// endpoints of 1500 bytes, software checksums, promiscuous mode, the Forwarder,
// gonet's conns, default options.
func rival(b *testing.B) world {
	b.Helper()
	client, clientLink := engine(b, "10.0.0.2", false)
	server, serverLink := engine(b, "10.0.0.1", true)
	accepted := make(chan net.Conn, 1<<16)
	f := gtcp.NewForwarder(server, 0, 1<<16, func(r *gtcp.ForwarderRequest) {
		var wq gwaiter.Queue
		ep, err := r.CreateEndpoint(&wq)
		r.Complete(err != nil)
		if err == nil {
			accepted <- gonet.NewTCPConn(&wq, ep)
		}
	})
	server.SetTransportProtocolHandler(gtcp.ProtocolNumber, f.HandlePacket)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go carry(ctx, clientLink, serverLink, done)
	go carry(ctx, serverLink, clientLink, done)
	b.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
	return world{
		dial: func(to netip.AddrPort) (net.Conn, error) {
			return gonet.DialTCPWithBind(ctx, client, gtcpip.FullAddress{NIC: 1, Addr: addr("10.0.0.2")},
				gtcpip.FullAddress{NIC: 1, Addr: gtcpip.AddrFromSlice(to.Addr().AsSlice()), Port: to.Port()}, gipv4.ProtocolNumber)
		},
		accept: func() (net.Conn, error) { return <-accepted, nil },
	}
}

func addr(s string) gtcpip.Address { return gtcpip.AddrFromSlice(netip.MustParseAddr(s).AsSlice()) }

func engine(b *testing.B, own string, any bool) (*gstack.Stack, *channel.Endpoint) {
	b.Helper()
	s := gstack.New(gstack.Options{
		NetworkProtocols:   []gstack.NetworkProtocolFactory{gipv4.NewProtocol},
		TransportProtocols: []gstack.TransportProtocolFactory{gtcp.NewProtocol},
	})
	l := channel.New(4096, 1500, "")
	if err := s.CreateNIC(1, l); err != nil {
		b.Fatal(err)
	}
	if err := s.AddProtocolAddress(1, gtcpip.ProtocolAddress{
		Protocol: gipv4.ProtocolNumber, AddressWithPrefix: addr(own).WithPrefix(),
	}, gstack.AddressProperties{}); err != nil {
		b.Fatal(err)
	}
	if any {
		_ = s.SetPromiscuousMode(1, true) // fails for an unknown NIC only
		_ = s.SetSpoofing(1, true)
	}
	s.SetRouteTable([]gtcpip.Route{{Destination: gheader.IPv4EmptySubnet, NIC: 1}})
	b.Cleanup(func() {
		s.Close()
		s.Wait()
	})
	return s, l
}

// carry moves packets from one link to the other, one by one.
func carry(ctx context.Context, from, to *channel.Endpoint, done chan<- struct{}) {
	defer func() { done <- struct{}{} }()
	for {
		pkt := from.ReadContext(ctx)
		if pkt == nil {
			return
		}
		in := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: pkt.ToBuffer()})
		pkt.DecRef()
		to.InjectInbound(gipv4.ProtocolNumber, in)
		in.DecRef()
	}
}
