package direct

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// bind gives the socket fd its mark and its interface.
func (d *Dialer) bind(fd int, _ string) error {
	if d.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(d.Mark)); err != nil {
			return fmt.Errorf("direct: mark %#x: %w", d.Mark, os.NewSyscallError("setsockopt", err))
		}
	}
	if d.Interface != "" {
		if err := unix.BindToDevice(fd, d.Interface); err != nil {
			return fmt.Errorf("direct: interface %s: %w", d.Interface, os.NewSyscallError("setsockopt", err))
		}
	}
	return nil
}
