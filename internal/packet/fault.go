package packet

import (
	"net/netip"
	"syscall"
)

// A Fault is what an ICMP error says to who sent the packet, without that packet: for
// handing an error that came from one side on to the other. It is an error.
type Fault struct {
	// Kind is what it means. [OtherError] cannot be sent.
	Kind Unreachable
	// From is who reports it. Zero: who that is follows from where it is sent.
	From netip.Addr
	// MTU is that of the link which was too small, in bytes, for [TooBig] only.
	MTU int
}

// Error implements error.
func (f *Fault) Error() string {
	if !f.From.IsValid() {
		return f.Kind.String()
	}
	return f.Kind.String() + ", says " + f.From.String()
}

// Is implements the matching of errors.Is: a Fault is the errno that a kernel would
// make of it.
func (f *Fault) Is(target error) bool {
	errno := f.Kind.Errno()
	return errno != 0 && target == errno
}

// Errno returns what a kernel tells the sender, 0 for what it keeps to itself.
func (u Unreachable) Errno() syscall.Errno {
	switch u {
	case NetUnreachable:
		return syscall.ENETUNREACH
	case HostUnreachable, TimeExceeded:
		return syscall.EHOSTUNREACH
	case PortUnreachable:
		return syscall.ECONNREFUSED
	case AdminProhibited:
		return syscall.EACCES
	case ProtocolUnreachable:
		return syscall.ENOPROTOOPT
	case TooBig:
		return syscall.EMSGSIZE
	}
	return 0
}

// KindOf returns what an ICMP error of this type and code means in IP version 4 or 6.
func KindOf(version, typ, code uint8) Unreachable { return kindOf(version, typ, code) }
