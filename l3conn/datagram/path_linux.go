package datagram

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func nameOf(name *unix.RawSockaddrInet6) *byte { return (*byte)(unsafe.Pointer(name)) }

// pathMTU returns the largest packet that goes to to in one datagram and one piece; 0
// if that is not known. It asks the socket if that is connected, else another one which
// sends nothing.
func pathMTU(s socket, to *net.UDPAddr, connected bool) int {
	if !connected {
		probe, err := net.DialUDP("udp", nil, to)
		if err != nil {
			return 0
		}
		defer probe.Close()
		s = probe
	}
	c, ok := s.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	mtu := 0
	_ = raw.Control(func(fd uintptr) { // 0 if it is closed
		if to.IP.To4() != nil {
			if m, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU); err == nil {
				mtu = m - header4
			}
		} else if m, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU); err == nil {
			mtu = m - header6
		}
	})
	return mtu
}
