// Command socks is a plain SOCKS5 server (RFC 1928) for programs that can reach the
// network in no other way. It starts one, and ends with it:
//
//	socks 127.0.0.1:1080 hev-socks5-tunnel config.yml
//
// Without a program it serves until it is killed.
//
// It knows CONNECT and UDP ASSOCIATE, IPv4 addresses, and clients without a password.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: socks ADDRESS [PROGRAM [ARGUMENT]...]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "socks:", err)
		os.Exit(1)
	}
}

func run(address string, command []string) error {
	ln, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	if len(command) == 0 {
		return serve(ln)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	failed := make(chan error, 2) // the process ends with the first
	go func() { failed <- runWithUs(cmd) }()
	go func() { failed <- serve(ln) }()
	return <-failed
}

func serve(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with the connection
			defer c.Close()
			_ = handle(c.(*net.TCPConn)) // the client sees that it has ended
		}()
	}
}

// Bytes of the protocol.
const (
	version   = 5
	open      = 0 // no authentication
	connect   = 1
	associate = 3
	ipv4      = 1
	succeeded = 0
	failure   = 1
	refused   = 5
	unknown   = 7
)

var errProtocol = errors.New("not what a client of ours says")

// handle serves one client until it ends.
func handle(c *net.TCPConn) error {
	b := make([]byte, 256)
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return err
	}
	if b[0] != version {
		return errProtocol
	}
	if _, err := io.ReadFull(c, b[:b[1]]); err != nil { // its methods, of which open is one
		return err
	}
	if _, err := c.Write([]byte{version, open}); err != nil {
		return err
	}
	request := b[:3+addressSize]
	if _, err := io.ReadFull(c, request); err != nil {
		return err
	}
	to, ok := address(request[3:])
	if !ok {
		return errProtocol
	}
	switch request[1] {
	case connect:
		return relay(c, to)
	case associate:
		return relayDatagrams(c)
	}
	return reply(c, unknown, netip.AddrPort{})
}

// addressSize is what an IPv4 address and a port take, with the type before them.
const addressSize = 7

func address(b []byte) (netip.AddrPort, bool) {
	if len(b) < addressSize || b[0] != ipv4 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[1:5])), uint16(b[5])<<8|uint16(b[6])), true
}

func appendAddress(b []byte, a netip.AddrPort) []byte {
	ip := [4]byte{}
	if a.Addr().Unmap().Is4() {
		ip = a.Addr().Unmap().As4()
	}
	return append(append(append(b, ipv4), ip[:]...), byte(a.Port()>>8), byte(a.Port()))
}

func reply(c *net.TCPConn, code byte, bound netip.AddrPort) error {
	_, err := c.Write(appendAddress([]byte{version, code, 0}, bound))
	return err
}

func relay(c *net.TCPConn, to netip.AddrPort) error {
	up, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		code := byte(failure)
		if errors.Is(err, syscall.ECONNREFUSED) {
			code = refused
		}
		return errors.Join(err, reply(c, code, netip.AddrPort{}))
	}
	defer up.Close()
	if err := reply(c, succeeded, up.LocalAddr().(*net.TCPAddr).AddrPort()); err != nil {
		return err
	}
	back := make(chan struct{})
	go func() { // awaited below
		copyTo(c, up)
		close(back)
	}()
	copyTo(up, c)
	<-back
	return nil
}

func copyTo(dst, src *net.TCPConn) {
	_, _ = io.Copy(dst, src) // the kernel may splice
	_ = dst.CloseWrite()
}

// relayDatagrams passes datagrams on until c ends: from whoever sends the first, to
// the addresses that they name, and back.
func relayDatagrams(c *net.TCPConn) error {
	near, err := net.ListenUDP("udp4", &net.UDPAddr{IP: c.LocalAddr().(*net.TCPAddr).IP})
	if err != nil {
		return errors.Join(err, reply(c, failure, netip.AddrPort{}))
	}
	far, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return errors.Join(err, near.Close(), reply(c, failure, netip.AddrPort{}))
	}
	done := make(chan struct{})
	go func() { // awaited below; ends when the sockets are closed
		defer close(done)
		outwards(near, far)
	}()
	err = reply(c, succeeded, near.LocalAddr().(*net.UDPAddr).AddrPort())
	if err == nil {
		_, err = io.Copy(io.Discard, c)
	}
	err = errors.Join(err, near.Close(), far.Close())
	<-done
	return err
}

// header is what stands before a datagram: two bytes of nothing, the number of a
// fragment, and the address that it is for or from.
const header = 3 + addressSize

func outwards(near, far *net.UDPConn) {
	buf := make([]byte, 64<<10)
	var back chan struct{}
	for {
		n, from, err := near.ReadFromUDPAddrPort(buf)
		if err != nil {
			break
		}
		if back == nil {
			back = make(chan struct{})
			go func() { // awaited below; ends when far is closed
				defer close(back)
				inwards(near, far, from)
			}()
		}
		if to, ok := address(buf[min(3, n):n]); ok && buf[2] == 0 {
			_, _ = far.WriteToUDPAddrPort(buf[header:n], to) // lost is lost
		}
	}
	if back != nil {
		<-back
	}
}

func inwards(near, far *net.UDPConn, client netip.AddrPort) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := far.ReadFromUDPAddrPort(buf[header:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			appendAddress(buf[:3], from)
			_, _ = near.WriteToUDPAddrPort(buf[:header+n], client)
		}
	}
}
