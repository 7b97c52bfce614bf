package direct

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// bind gives the socket fd its interface.
func (d *Dialer) bind(fd int, network string) error {
	if d.Mark != 0 {
		return fmt.Errorf("direct: Dialer.Mark needs Linux: %w", errors.ErrUnsupported)
	}
	ifi, err := net.InterfaceByName(d.Interface)
	if err != nil {
		return fmt.Errorf("direct: interface %s: %w", d.Interface, err)
	}
	if strings.HasSuffix(network, "4") {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BOUND_IF, ifi.Index)
	} else {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_BOUND_IF, ifi.Index)
	}
	if err != nil {
		return fmt.Errorf("direct: interface %s: %w", d.Interface, os.NewSyscallError("setsockopt", err))
	}
	return nil
}
