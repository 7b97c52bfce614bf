package icmp

import (
	"errors"
	"net/netip"
	"syscall"

	"l3extract/internal/flow"
	"l3extract/internal/packet"
)

// Error is an ICMP error as what it says: its Kind, From whom, and the MTU if that was
// too small. errors.Is matches it with the errno that a kernel makes of it. It can be
// given to [Echo.Report] and to udp.Socket.Refuse, to pass on what another network
// said.
type Error = packet.Fault

// Kind is the kind of an ICMP error, the same for both IP versions.
type Kind = packet.Unreachable

// The kinds, with type and code in IPv4 | IPv6.
const (
	NetUnreachable      = packet.NetUnreachable      // 3/0 | 1/0
	HostUnreachable     = packet.HostUnreachable     // 3/1 | 1/3
	PortUnreachable     = packet.PortUnreachable     // 3/3 | 1/4
	AdminProhibited     = packet.AdminProhibited     // 3/13 | 1/1
	ProtocolUnreachable = packet.ProtocolUnreachable // 3/2 | 4/1
	TooBig              = packet.TooBig              // 3/4 | 2/0
	TimeExceeded        = packet.TimeExceeded        // 11/0 | 3/0
)

// errorOf returns what a client that pinged is told of err; nil means nothing.
func errorOf(err error) *Error {
	var already *Error
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &already):
		return already
	case errors.Is(err, syscall.ENETUNREACH):
		return &Error{Kind: NetUnreachable}
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM), errors.Is(err, flow.Policy):
		return &Error{Kind: AdminProhibited}
	case errors.Is(err, syscall.EHOSTUNREACH): // before time-outs, of which Windows calls it one
		return &Error{Kind: HostUnreachable}
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, flow.TimedOut):
		return nil
	}
	return &Error{Kind: HostUnreachable}
}

// from returns who reports f to client.
func (a *Acceptor) from(f *Error, client, asked netip.Addr) netip.Addr {
	if from := f.From.Unmap().WithZone(""); from.IsValid() && from.Is4() == client.Is4() && !from.IsLoopback() {
		return from
	}
	if own := a.env.Source(client); own.IsValid() {
		return own
	}
	return asked
}
