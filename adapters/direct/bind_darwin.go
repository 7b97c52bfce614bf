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
func (d *Dialer) bind(fd int, network, address string) error {
	if d.Mark != 0 {
		return fmt.Errorf("direct: Dialer.Mark needs Linux: %w", errors.ErrUnsupported)
	}
	name, err := d.via(network, address)
	if name == "" || err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("direct: interface %s: %w", name, err)
	}
	if strings.HasSuffix(network, "4") {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BOUND_IF, ifi.Index)
	} else {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_BOUND_IF, ifi.Index)
	}
	if err != nil {
		return fmt.Errorf("direct: interface %s: %w", name, os.NewSyscallError("setsockopt", err))
	}
	return nil
}
