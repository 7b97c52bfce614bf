package direct

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// bind gives the socket fd its mark and its interface.
func (d *Dialer) bind(fd int, network, address string) error {
	if d.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(d.Mark)); err != nil {
			return fmt.Errorf("direct: mark %#x: %w", d.Mark, os.NewSyscallError("setsockopt", err))
		}
	}
	name, err := d.via(network, address)
	if err != nil {
		return err
	}
	if name != "" {
		if err := unix.BindToDevice(fd, name); err != nil {
			return fmt.Errorf("direct: interface %s: %w", name, os.NewSyscallError("setsockopt", err))
		}
	}
	return nil
}
