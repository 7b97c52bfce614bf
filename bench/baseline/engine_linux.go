package main

import (
	"context"
	"errors"
	"io"
	"net"

	"gvisor.dev/gvisor/pkg/buffer"
	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	gheader "gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	gipv4 "gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	gwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// engine serves conn until it fails, with the engine's defaults but SACK, which every
// program of the kind sets.
func engine(conn io.ReadWriter, mtu int) error {
	s := gstack.New(gstack.Options{
		NetworkProtocols:   []gstack.NetworkProtocolFactory{gipv4.NewProtocol},
		TransportProtocols: []gstack.TransportProtocolFactory{gtcp.NewProtocol},
	})
	sack := gtcpip.TCPSACKEnabled(true)
	_ = s.SetTransportProtocolOption(gtcp.ProtocolNumber, &sack) // known
	link := channel.New(1024, uint32(mtu), "")
	if err := s.CreateNIC(1, link); err != nil {
		return errors.New(err.String())
	}
	_ = s.SetPromiscuousMode(1, true) // fails for an unknown NIC only
	_ = s.SetSpoofing(1, true)
	s.SetRouteTable([]gtcpip.Route{{Destination: gheader.IPv4EmptySubnet, NIC: 1}})
	forwarder := gtcp.NewForwarder(s, 0, 1<<14, relay)
	s.SetTransportProtocolHandler(gtcp.ProtocolNumber, forwarder.HandlePacket)

	failed := make(chan error, 2) // the process ends with the first
	go func() { failed <- in(conn, link) }()
	go func() { failed <- out(conn, link) }()
	return <-failed
}

// relay dials first, as everybody's should, and copies both ways.
func relay(r *gtcp.ForwarderRequest) {
	id := r.ID()
	to := net.TCPAddr{IP: id.LocalAddress.AsSlice(), Port: int(id.LocalPort)}
	up, err := net.DialTCP("tcp4", nil, &to)
	if err != nil {
		r.Complete(true)
		return
	}
	defer up.Close()
	var queue gwaiter.Queue
	ep, failed := r.CreateEndpoint(&queue)
	r.Complete(failed != nil)
	if failed != nil {
		return
	}
	client := gonet.NewTCPConn(&queue, ep)
	defer client.Close()
	back := make(chan struct{})
	go func() { // awaited below
		_, _ = io.Copy(client, struct{ io.Reader }{up})
		_ = client.CloseWrite()
		close(back)
	}()
	_, _ = io.Copy(struct{ io.Writer }{up}, client)
	_ = up.CloseWrite()
	<-back
}

// in reads packets, one at a time.
func in(conn io.Reader, link *channel.Endpoint) error {
	b := make([]byte, 64<<10)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return err
		}
		if n == 0 || b[0]>>4 != 4 {
			continue
		}
		pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(b[:n])})
		link.InjectInbound(gipv4.ProtocolNumber, pkt)
		pkt.DecRef()
	}
}

// out writes packets, one at a time.
func out(conn io.Writer, link *channel.Endpoint) error {
	for {
		pkt := link.ReadContext(context.Background())
		v := pkt.ToView()
		pkt.DecRef()
		_, err := conn.Write(v.AsSlice())
		v.Release()
		if err != nil {
			return err
		}
	}
}
