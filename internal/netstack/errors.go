package netstack

import (
	"errors"
	"syscall"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
)

// ErrWouldBlock says that an operation can do nothing now and that an event
// will tell when to try again. It never leaves the module.
var ErrWouldBlock = errors.New("netstack: operation would block")

// errClosedForReceive and errClosedForSend are ambiguous in the engine: the
// endpoint decides by its state whether they mean EOF, EPIPE or an error that
// somebody else took first.
var (
	errClosedForReceive = errors.New("netstack: closed for receive")
	errClosedForSend    = errors.New("netstack: closed for send")
)

// translate is the one table from the engine's errors to the causes our users
// match with errors.Is. It is total: a test holds it against the engine's source.
func translate(err gtcpip.Error) error {
	switch err.(type) {
	case nil:
		return nil
	case *gtcpip.ErrWouldBlock, *gtcpip.ErrConnectStarted:
		return ErrWouldBlock
	case *gtcpip.ErrClosedForReceive:
		return errClosedForReceive
	case *gtcpip.ErrClosedForSend:
		return errClosedForSend
	case *gtcpip.ErrConnectionReset:
		return syscall.ECONNRESET
	case *gtcpip.ErrConnectionRefused:
		return syscall.ECONNREFUSED
	case *gtcpip.ErrConnectionAborted, *gtcpip.ErrAborted:
		return syscall.ECONNABORTED
	case *gtcpip.ErrTimeout:
		return syscall.ETIMEDOUT
	case *gtcpip.ErrHostUnreachable:
		return syscall.EHOSTUNREACH
	case *gtcpip.ErrHostDown:
		return syscall.EHOSTDOWN
	case *gtcpip.ErrNetworkUnreachable, *gtcpip.ErrNoNet:
		return syscall.ENETUNREACH
	case *gtcpip.ErrPortInUse, *gtcpip.ErrDuplicateAddress, *gtcpip.ErrDuplicateNICID:
		return syscall.EADDRINUSE
	case *gtcpip.ErrNoPortAvailable, *gtcpip.ErrBadLocalAddress:
		return syscall.EADDRNOTAVAIL
	case *gtcpip.ErrAlreadyConnected:
		return syscall.EISCONN
	case *gtcpip.ErrAlreadyConnecting:
		return syscall.EALREADY
	case *gtcpip.ErrNotConnected:
		return syscall.ENOTCONN
	case *gtcpip.ErrNoBufferSpace:
		return syscall.ENOBUFS
	case *gtcpip.ErrMessageTooLong:
		return syscall.EMSGSIZE
	case *gtcpip.ErrDestinationRequired:
		return syscall.EDESTADDRREQ
	case *gtcpip.ErrBroadcastDisabled, *gtcpip.ErrNotPermitted:
		return syscall.EACCES
	case *gtcpip.ErrAddressFamilyNotSupported:
		return syscall.EAFNOSUPPORT
	case *gtcpip.ErrNotSupported, *gtcpip.ErrMulticastInputCannotBeOutput:
		return syscall.EOPNOTSUPP
	case *gtcpip.ErrUnknownProtocol:
		return syscall.EPROTONOSUPPORT
	case *gtcpip.ErrUnknownProtocolOption:
		return syscall.ENOPROTOOPT
	case *gtcpip.ErrUnknownDevice, *gtcpip.ErrUnknownNICID, *gtcpip.ErrInvalidNICID:
		return syscall.ENODEV
	case *gtcpip.ErrQueueSizeNotSupported:
		return syscall.ENOTTY
	case *gtcpip.ErrNoSuchFile:
		return syscall.ENOENT
	case *gtcpip.ErrMissingRequiredFields, *gtcpip.ErrInvalidOptionValue,
		*gtcpip.ErrInvalidEndpointState, *gtcpip.ErrAlreadyBound,
		*gtcpip.ErrInvalidPortRange, *gtcpip.ErrMalformedHeader:
		return syscall.EINVAL
	case *gtcpip.ErrBadAddress, *gtcpip.ErrBadBuffer:
		return syscall.EFAULT
	case *gtcpip.ErrEndpointBusy:
		return syscall.EBUSY
	}
	return syscall.EIO // of a later engine: whatever it is, it is no success
}
