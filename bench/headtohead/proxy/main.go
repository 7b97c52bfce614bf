// Command proxy is the plain copying proxy that headtohead compares with: a listening
// socket, a goroutine for each direction of a connection, and a buffer for each. It is
// a program of its own so that its memory is that of a proxy.
//
//	proxy 10.98.2. 10.98.1. 7000
//
// listens on the port, and dials the address that begins with the second argument
// and ends with the last byte of the one that was dialled, which begins with the first.
// Datagrams it passes on for the address that ends with 1, and for the port behind, too.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: proxy NETWORK SERVERS PORT")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		os.Exit(1)
	}
}

func serve(network, servers, port string) error {
	own, err := netip.ParseAddrPort(network + "1:" + port)
	if err != nil {
		return err
	}
	server, err := netip.ParseAddrPort(servers + "1:" + port)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		return err
	}
	failed := make(chan error, 3)         // the process ends with the first
	for _, more := range []uint16{0, 1} { // the second port is QUIC's
		behind := func(a netip.AddrPort) *net.UDPAddr {
			return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr(), a.Port()+more))
		}
		datagrams, err := net.ListenUDP("udp4", behind(own))
		if err != nil {
			return err
		}
		go func() { failed <- relayDatagrams(datagrams, behind(server)) }()
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				failed <- err
				return
			}
			go relay(c.(*net.TCPConn), net.TCPAddrFromAddrPort(server)) // ends with the connection
		}
	}()
	return <-failed
}

// relay copies both ways; to is another server's address, and this connection's own.
func relay(c *net.TCPConn, to *net.TCPAddr) {
	defer c.Close()
	to.IP[len(to.IP)-1] = c.LocalAddr().(*net.TCPAddr).IP.To4()[3]
	up, err := net.DialTCP("tcp4", nil, to)
	if err != nil {
		_ = c.SetLinger(0)
		return
	}
	defer up.Close()
	back := make(chan struct{})
	go func() { // awaited below
		copyTo(c, up)
		close(back)
	}()
	copyTo(up, c)
	<-back
}

// copyTo copies with a buffer, as a proxy must that looks at what it passes on; the
// types hide that these are sockets, which io.Copy would splice.
func copyTo(dst, src *net.TCPConn) {
	_, _ = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, 64<<10))
	_ = dst.CloseWrite()
}

// relayDatagrams has a socket for each client, for as long as the process lives.
func relayDatagrams(c *net.UDPConn, server *net.UDPAddr) error {
	clients := make(map[netip.AddrPort]*net.UDPConn)
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		up := clients[from]
		if up == nil {
			if up, err = net.DialUDP("udp4", nil, server); err != nil {
				return err
			}
			clients[from] = up
			go copyDatagrams(c, up, from) // ends with the process
		}
		_, _ = up.Write(buf[:n]) // lost is lost
	}
}

func copyDatagrams(c, up *net.UDPConn, to netip.AddrPort) {
	buf := make([]byte, 64<<10)
	for {
		n, err := up.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteToUDPAddrPort(buf[:n], to)
		}
	}
}
