package tun

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"l3extract/l3conn"
)

func prefixes(s ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, s := range s {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Name: "sixteen-bytes-no"}, "longer than 15 bytes"},
		{Config{Name: "a/b"}, "Config.Name"},
		{Config{Name: "a b"}, "Config.Name"},
		{Config{Name: ".."}, "Config.Name"},
		{Config{Name: "a%s"}, "Config.Name"},
		{Config{Name: "a%d%d"}, "Config.Name"},
		{Config{MTU: -1}, "Config.MTU"},
		{Config{MTU: 67}, "Config.MTU"},
		{Config{MTU: 65536}, "Config.MTU"},
		{Config{MTU: 1279, Addrs: prefixes("2001:db8::1/64")}, "Config.MTU"},
		{Config{MTU: 1279, Routes: prefixes("::/0")}, "Config.MTU"},
		{Config{Addrs: []netip.Prefix{{}}}, "Config.Addrs"},
		{Config{Routes: []netip.Prefix{{}}}, "Config.Routes"},
		{Config{Addrs: prefixes("::ffff:1.2.3.4/128")}, "Config.Addrs"},
		{Config{Routes: prefixes("0.0.0.0/0"), LeaveDown: true}, "Config.LeaveDown"},
	} {
		dev, err := Open(&c.cfg)
		if err == nil {
			dev.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "tun: ") {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
	for _, ok := range []Config{
		{}, {Name: "fifteen-bytes-o"}, {Name: "a%d"}, {MTU: 68}, {MTU: 65535},
		{MTU: 1280, Addrs: prefixes("2001:db8::1/64")}, {MTU: 576, Addrs: prefixes("10.0.0.1/8")},
	} {
		if err := ok.validate(); err != nil {
			t.Errorf("%+v: %v", ok, err)
		}
	}
}

func TestAdoptErrors(t *testing.T) {
	for _, mtu := range []int{-1, 67, 65536} {
		if _, err := FromFD(0, mtu); err == nil || !strings.Contains(err.Error(), "MTU") {
			t.Errorf("MTU %d: %v", mtu, err)
		}
		if _, err := FromFile(os.Stdin, mtu); err == nil || !strings.Contains(err.Error(), "MTU") {
			t.Errorf("MTU %d: %v", mtu, err)
		}
	}
	if _, err := FromFD(-1, 0); !errors.Is(err, syscall.EBADF) {
		t.Error(err)
	}
}

func TestIOErrors(t *testing.T) {
	path := func(errno syscall.Errno) error { return &os.PathError{Op: "read", Path: "tun", Err: errno} }
	for _, c := range []struct {
		op        string
		err, want error
		named     bool // the contract has a name for it
	}{
		{"read", os.ErrClosed, net.ErrClosed, false},
		{"read", path(0), syscall.Errno(0), false},
		{"read", os.ErrDeadlineExceeded, os.ErrDeadlineExceeded, false},
		{"read", l3conn.ErrShortBuffer, l3conn.ErrShortBuffer, true},
		{"read", path(syscall.EIO), syscall.EIO, false},
		{"read", path(errnoGone), syscall.ENODEV, false},
		{"write", os.NewSyscallError("write", errnoGone), syscall.ENODEV, false},
		{"write", os.NewSyscallError("write", syscall.EAGAIN), l3conn.ErrNoBuffers, true},
		{"write", syscall.ENOBUFS, l3conn.ErrNoBuffers, true},
		{"write", syscall.ENOMEM, l3conn.ErrNoBuffers, true},
		{"write", syscall.EIO, l3conn.ErrDown, true},
		{"write", syscall.EINVAL, syscall.EINVAL, false},
		{"write", l3conn.ErrTooLong, syscall.EMSGSIZE, true},
	} {
		got := ioError(c.op, c.err)
		op, isOp := got.(*net.OpError)
		if !errors.Is(got, c.want) || isOp == c.named || isOp && (op.Op != c.op || op.Net != "tun") {
			t.Errorf("%s: %v became %v", c.op, c.err, got)
		}
		if l3conn.Transient(got) != c.named {
			t.Errorf("%s: %v: Transient is %v", c.op, got, !c.named)
		}
	}
	if ioError("read", nil) != nil {
		t.Error("nil became an error")
	}
}
