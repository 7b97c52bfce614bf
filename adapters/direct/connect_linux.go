package direct

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is a socket that an event loop owns, and that nobody waits for.
type Socket struct {
	FD  int // the descriptor, non-blocking
	raw *rawSocket
}

// Connect begins a connection to addr, prepared as DialContext does it, and does not
// wait for it: the socket becomes writable when it is connected or has failed, and
// SO_ERROR then says which. Timeout and Resolver do not count. The caller closes the
// socket. Errors as DialContext.
func (d *Dialer) Connect(ctx context.Context, addr netip.AddrPort) (Socket, error) {
	s, err := d.connect(ctx, addr)
	if err != nil {
		return Socket{}, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: err}
	}
	return s, nil
}

func (d *Dialer) connect(ctx context.Context, addr netip.AddrPort) (s Socket, err error) {
	family, network := unix.AF_INET, "tcp4"
	var to unix.Sockaddr
	if a := addr.Addr(); a.Is4() {
		to = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: a.As4()}
	} else {
		family, network = unix.AF_INET6, "tcp6"
		to6 := &unix.SockaddrInet6{Port: int(addr.Port()), Addr: a.As16()}
		if zone := a.Zone(); zone != "" {
			ifi, err := net.InterfaceByName(zone)
			if err != nil {
				return s, err
			}
			to6.ZoneId = uint32(ifi.Index)
		}
		to = to6
	}
	s.FD, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return s, os.NewSyscallError("socket", err)
	}
	if err = d.prepare(ctx, &s, network, addr); err == nil {
		for {
			err = unix.Connect(s.FD, to)
			if err != unix.EINTR {
				break
			}
		}
		if err == unix.EINPROGRESS || err == unix.EALREADY || err == unix.EISCONN {
			err = nil
		}
		err = os.NewSyscallError("connect", err)
	}
	if err != nil {
		s.Close()
	}
	return s, err
}

// prepare sets what DialContext sets.
func (d *Dialer) prepare(ctx context.Context, s *Socket, network string, addr netip.AddrPort) error {
	if d.binds() {
		if err := d.bind(s.FD, network, addr.String()); err != nil {
			return err
		}
	}
	_ = unix.SetsockoptInt(s.FD, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // no connection without it would be worse
	if d.KeepAlive.Enable {
		keepAlive(s.FD, d.KeepAlive)
	}
	if d.Control == nil {
		return nil
	}
	s.raw = &rawSocket{fd: s.FD}
	return d.Control(ctx, network, addr.String(), s.raw)
}

// keepAlive sets the probes as package net does, which ignores errors too.
func keepAlive(fd int, c net.KeepAliveConfig) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	set := func(option, v, def int) {
		if v == 0 {
			v = def
		}
		if v > 0 {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, v)
		}
	}
	const def, defCount = 15, 9
	seconds := func(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
	set(unix.TCP_KEEPIDLE, seconds(c.Idle), def)
	set(unix.TCP_KEEPINTVL, seconds(c.Interval), def)
	set(unix.TCP_KEEPCNT, c.Count, defCount)
}

// Close closes the socket. What a Control kept of it is of no more use.
func (s Socket) Close() {
	if s.raw != nil {
		s.raw.mu.Lock()
		s.raw.fd = -1
		defer s.raw.mu.Unlock()
	}
	_ = unix.Close(s.FD) // the number is free whatever it says
}

// rawSocket is what Dialer.Control gets of a Socket. Package net's, too, works for as
// long as the connection does.
type rawSocket struct {
	mu sync.Mutex
	fd int // -1: closed
}

// Control implements syscall.RawConn.
func (r *rawSocket) Control(f func(fd uintptr)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(r.fd))
	return nil
}

// Read implements syscall.RawConn; nobody but the loop reads.
func (r *rawSocket) Read(func(fd uintptr) bool) error { return syscall.EOPNOTSUPP }

// Write implements syscall.RawConn; nobody but the loop writes.
func (r *rawSocket) Write(func(fd uintptr) bool) error { return syscall.EOPNOTSUPP }
