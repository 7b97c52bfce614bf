package direct

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNoPings says what permission is missing.
var errNoPings = errors.New("net.ipv4.ping_group_range does not hold this process's group, and it has no CAP_NET_RAW")

func (d *Dialer) listenPing(ctx context.Context, network string) (net.PacketConn, error) {
	pc, err := d.pingSocket(ctx, network)
	if !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EPROTONOSUPPORT) {
		return pc, err
	}
	lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		return d.control(ctx, network, address, c)
	}}
	address := "0.0.0.0"
	if network == ping6 {
		address = "::"
	}
	pc, err = lc.ListenPacket(ctx, network, address)
	if errors.Is(err, syscall.EPERM) {
		return nil, fmt.Errorf("%w: %w", errNoPings, syscall.EACCES)
	}
	return pc, err
}

// pingSocket opens a ping socket.
func (d *Dialer) pingSocket(ctx context.Context, network string) (net.PacketConn, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if network == ping6 {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), network)
	defer f.Close() // the conn has a descriptor of its own
	raw, err := f.SyscallConn()
	if err == nil {
		err = d.control(ctx, network, "", raw)
	}
	if err != nil {
		return nil, err
	}
	return net.FilePacketConn(f)
}
