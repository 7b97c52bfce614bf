package socksaddr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"l3extract/adapters/outbound"
)

// Types of addresses, the first byte of one.
const (
	typeIPv4 = 1
	typeName = 3
	typeIPv6 = 4
)

// MaxName is the longest name, in bytes.
const MaxName = 255

// MaxLen is the longest encoding, in bytes.
const MaxLen = 1 + 1 + MaxName + 2

// Addr is a destination or a source: an IP address, or a name if that is not set.
// It is comparable.
type Addr struct {
	IP   netip.Addr // never IPv4 in IPv6, never with a zone
	Name string
	Port uint16
}

// Parse errors.
var (
	ErrShort = errors.New("the address is cut off")
	ErrType  = errors.New("the address has an unknown type")
)

var errNone = fmt.Errorf("there is no address: %w", syscall.EHOSTUNREACH)

// Split takes host:port apart. A name must fit; a zone means nothing elsewhere. Errors
// do not quote the address, which may be anything.
func Split(address string) (Addr, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return Addr{}, fmt.Errorf("this is not a host and port: %w", syscall.EHOSTUNREACH)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Addr{}, fmt.Errorf("the port is no number up to 65535: %w", syscall.EHOSTUNREACH)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return OfIP(netip.AddrPortFrom(ip, uint16(n)))
	}
	return OfName(host, uint16(n))
}

// OfIP returns the Addr of an IP address and port.
func OfIP(ap netip.AddrPort) (Addr, error) {
	ip := ap.Addr().Unmap()
	if !ip.IsValid() {
		return Addr{}, errNone
	}
	if ip.Zone() != "" {
		return Addr{}, fmt.Errorf("%v: a zone means nothing to a proxy: %w", ip, syscall.EHOSTUNREACH)
	}
	return Addr{IP: ip, Port: ap.Port()}, nil
}

// OfName returns the Addr of a name and port.
func OfName(name string, port uint16) (Addr, error) {
	switch {
	case name == "":
		return Addr{}, fmt.Errorf("the name is empty: %w", syscall.EHOSTUNREACH)
	case len(name) > MaxName:
		return Addr{}, fmt.Errorf("the name has %d bytes, and %d are the most: %w", len(name), MaxName, syscall.EHOSTUNREACH)
	}
	return Addr{Name: name, Port: port}, nil
}

// Of returns the Addr of what WriteTo takes: a *net.UDPAddr, an outbound.Name, or
// whatever has an AddrPort method or prints as host:port.
func Of(a net.Addr) (Addr, error) {
	switch a := a.(type) {
	case nil:
		return Addr{}, errNone
	case outbound.Name:
		return OfName(a.Host, a.Port)
	case interface{ AddrPort() netip.AddrPort }:
		return OfIP(a.AddrPort())
	}
	return Split(a.String())
}

// Append appends the encoding of a, which must come from a function of this package.
func (a Addr) Append(b []byte) []byte {
	switch {
	case a.IP.Is4():
		ip := a.IP.As4()
		b = append(append(b, typeIPv4), ip[:]...)
	case a.IP.Is6():
		ip := a.IP.As16()
		b = append(append(b, typeIPv6), ip[:]...)
	default:
		b = append(append(b, typeName, byte(len(a.Name))), a.Name...)
	}
	return binary.BigEndian.AppendUint16(b, a.Port)
}

// Len returns how long an encoding is whose first two bytes these are.
func Len(kind, next byte) (int, error) {
	switch kind {
	case typeIPv4:
		return 1 + 4 + 2, nil
	case typeIPv6:
		return 1 + 16 + 2, nil
	case typeName:
		return 1 + 1 + int(next) + 2, nil
	}
	return 0, ErrType
}

// Parse returns the address at the start of b, and its length there. The name in it
// may be empty: proxies that have nothing to say write that.
func Parse(b []byte) (Addr, int, error) {
	if len(b) < 2 {
		return Addr{}, 0, ErrShort
	}
	n, err := Len(b[0], b[1])
	if err != nil {
		return Addr{}, 0, err
	}
	if len(b) < n {
		return Addr{}, 0, ErrShort
	}
	a := Addr{Port: binary.BigEndian.Uint16(b[n-2:])}
	if b[0] == typeName {
		a.Name = string(b[2 : n-2])
	} else {
		ip, _ := netip.AddrFromSlice(b[1 : n-2])
		a.IP = ip.Unmap()
	}
	return a, n, nil
}

// NetAddr returns a as ReadFrom gives it: a *net.UDPAddr or an outbound.Name.
func (a Addr) NetAddr() net.Addr {
	if a.IP.IsValid() {
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.IP, a.Port))
	}
	return outbound.Name{Host: a.Name, Port: a.Port}
}

// String returns host:port.
func (a Addr) String() string {
	if a.IP.IsValid() {
		return netip.AddrPortFrom(a.IP, a.Port).String()
	}
	return net.JoinHostPort(a.Name, strconv.Itoa(int(a.Port)))
}
