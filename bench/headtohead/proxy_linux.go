package main

import (
	"errors"
	"io"
	"net"
	"net/netip"
)

// proxy is the role of the plain copying proxy: it dials the server's address with
// the last byte of the address that was dialled. Datagrams it passes on for the first
// address.
func proxy() error {
	datagrams, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(proxyNet + "1"), Port: portNumber})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		return err
	}
	failed := make(chan error, 2) // the process ends with the first
	go func() { failed <- relayDatagrams(datagrams) }()
	go func() { failed <- accept(ln, relay) }()
	return <-failed
}

func relay(c *net.TCPConn) {
	defer c.Close()
	dialled := c.LocalAddr().(*net.TCPAddr)
	to := *dialled
	to.IP = net.ParseIP(serverNet + "0").To4()
	to.IP[3] = dialled.IP.To4()[3]
	up, err := net.DialTCP("tcp4", nil, &to)
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
func relayDatagrams(c *net.UDPConn) error {
	clients := make(map[netip.AddrPort]*net.UDPConn)
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		up := clients[from]
		if up == nil {
			if up, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(serverNet + "1"), Port: portNumber}); err != nil {
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
