package tun

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"l3extract/internal/packet"
	"l3extract/l3conn"
	"l3extract/l3conn/l3conntest"
)

// TestConformance runs the suite over two TUNs between which the kernel routes.
func TestConformance(t *testing.T) {
	needTUN(t)
	sysctl(t, "ipv4/ip_forward", "1")
	sysctl(t, "ipv6/conf/all/forwarding", "1")
	for _, c := range []struct {
		name string
		a, b netip.Addr
		mtu  int
		off  bool
	}{
		{"IPv4", netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.2.0.2"), 1500, false},
		{"IPv6", netip.MustParseAddr("2001:db8:1::2"), netip.MustParseAddr("2001:db8:2::2"), 9000, false},
		{"NoOffload", netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.2.0.2"), 1500, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l3conntest.Config{A: c.a, B: c.b}.Test(t, func(t *testing.T) (l3conn.Conn, l3conn.Conn, func()) {
				open := func(far netip.Addr) *Device {
					near, bits := far.Prev(), far.BitLen()-8
					return mustOpen(t, Config{MTU: c.mtu, NoOffload: c.off,
						Addrs: []netip.Prefix{netip.PrefixFrom(near, bits)}})
				}
				a, b := open(c.a), open(c.b)
				if has := l3conn.Probe(a).Offloader != nil; has == c.off {
					t.Error("Offloader:", has)
				}
				return a, b, func() { a.Close(); b.Close() }
			})
		})
	}
}

// TestHost talks with a socket of the host, both ways, in every size.
func TestHost(t *testing.T) {
	for _, c := range []struct{ near, far string }{
		{"10.3.0.1/24", "10.3.0.2"}, {"2001:db8:3::1/64", "2001:db8:3::2"},
	} {
		dev := mustOpen(t, Config{Addrs: prefixes(c.near)})
		near := netip.AddrPortFrom(netip.MustParsePrefix(c.near).Addr(), 4000)
		far := netip.AddrPortFrom(netip.MustParseAddr(c.far), 5000)
		host, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(near))
		if err != nil {
			t.Fatal(err) // an IPv6 address must be usable at once
		}
		defer host.Close()
		host.SetDeadline(time.Now().Add(20 * time.Second))
		dev.SetReadDeadline(time.Now().Add(20 * time.Second))
		buf := make([]byte, 2000)
		most := 1500 - 28
		if near.Addr().Is6() {
			most -= 20
		}
		for _, size := range []int{0, 1, 100, most} {
			payload := bytes.Repeat([]byte{byte(size)}, size)
			p := packet.AppendUDP(nil, far, near, 64, 0, payload)
			if n, err := dev.Write(p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
			n, from, err := host.ReadFromUDPAddrPort(buf)
			if err != nil || from != far || !bytes.Equal(buf[:n], payload) {
				t.Fatal(n, from, err)
			}
			if _, err := host.WriteToUDPAddrPort(payload, far); err != nil {
				t.Fatal(err)
			}
			var in packet.Packet
			for in.Proto != packet.UDP { // the host has a word with its routers too
				n, err = dev.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				in.Decode(buf[:n])
			}
			if in.SrcAddrPort() != near || in.DstAddrPort() != far || !bytes.Equal(in.Payload, payload) || len(in.Raw) != n {
				t.Fatalf("%v > %v, %d bytes", in.SrcAddrPort(), in.DstAddrPort(), len(in.Payload))
			}
		}
	}
}

func TestSettings(t *testing.T) {
	sysctlDefault := func(v string) { sysctl(t, "ipv6/conf/default/disable_ipv6", v) }
	needTUN(t)
	sysctlDefault("1") // as in many containers
	defer sysctlDefault("0")
	c := Config{
		Name: "l3test%d", MTU: 1400,
		Addrs:  prefixes("10.4.0.1/24", "10.5.0.1/32", "2001:db8:4::1/64"),
		Routes: prefixes("198.18.1.1/15", "0.0.0.0/0", "2001:db8:5::/48", "::/0"),
	}
	dev := mustOpen(t, c)
	if dev.Name() != "l3test0" || dev.MTU() != 1400 {
		t.Error(dev.Name(), dev.MTU())
	}
	i, err := net.InterfaceByName(dev.Name())
	if err != nil || i.MTU != 1400 || i.Flags&net.FlagUp == 0 {
		t.Fatal(i, err)
	}
	addrs, _ := i.Addrs()
	for _, want := range c.Addrs {
		if !strings.Contains(fmt.Sprint(addrs), want.String()) {
			t.Errorf("address %v is not among %v", want, addrs)
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: i.Index}, netlink.RT_FILTER_OIF)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"198.18.0.0/15", "0.0.0.0/0", "2001:db8:5::/48", "::/0"} {
		found := false
		for _, r := range routes {
			found = found || r.Dst != nil && r.Dst.String() == want
		}
		if !found {
			t.Errorf("route %s is not among %v", want, routes)
		}
	}
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.InterfaceByName(dev.Name()); err == nil {
		t.Error("the interface is still there after Close")
	}
}

func TestPersist(t *testing.T) {
	c := Config{Name: "l3persist", Persist: true, Addrs: prefixes("10.6.0.1/24")}
	dev := mustOpen(t, c)
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("l3persist")
	if err != nil {
		t.Fatal("gone after Close:", err)
	}
	// Taking it again with the same settings works, and without any, and leaves it in place.
	for _, c := range []Config{c, {Name: "l3persist"}} {
		again := mustOpen(t, c)
		if now, err := net.InterfaceByName("l3persist"); err != nil || now.Index != link.Attrs().Index {
			t.Error(now, err)
		}
		again.Close()
	}
	// A failure must not leave anything.
	if _, err := Open(&Config{Name: "l3fresh", Persist: true, Routes: prefixes("10.0.0.0/8", "127.0.0.0/8", "2001:db8::/32"), MTU: 500}); err == nil {
		t.Error("IPv6 on an MTU of 500")
	}
	if _, err := net.InterfaceByName("l3fresh"); err == nil {
		t.Error("a failed Open left its interface")
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
}

func TestTaken(t *testing.T) {
	first := mustOpen(t, Config{})
	for _, c := range []struct {
		name string
		is   error
		say  string
	}{
		{first.Name(), syscall.EBUSY, "taken"},
		{"lo", syscall.EINVAL, "not a TUN"},
	} {
		dev, err := Open(&Config{Name: c.name})
		if err == nil {
			dev.Close()
		}
		if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.say) || !strings.Contains(fmt.Sprint(err), c.name) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestNoPermission drops the capability on one thread, which then ends.
func TestNoPermission(t *testing.T) {
	mine := mustOpen(t, Config{Name: "l3noperm"})
	errs := make(chan error)
	go func() { // awaited below; its thread dies with it
		runtime.LockOSThread()
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&hdr, &data[0]); err != nil {
			errs <- err
			return
		}
		data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			errs <- err
			return
		}
		_, err := Open(nil)
		errs <- err
	}()
	if err := <-errs; !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Error(err)
	}
	if mine.Name() != "l3noperm" {
		t.Error(mine.Name())
	}
	for err, say := range map[error]string{
		unix.ENOENT: "kernel module", unix.ENODEV: "no TUN support", unix.EACCES: "0666",
	} {
		if got := openError(err); !errors.Is(got, err) || !strings.Contains(got.Error(), say) {
			t.Error(got)
		}
	}
	if _, err := Open(&Config{NetNS: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "Config.NetNS") {
		t.Error(err)
	}
	if _, err := Open(&Config{NetNS: os.DevNull}); err == nil || !strings.Contains(err.Error(), "Config.NetNS") {
		t.Error(err)
	}
}

func TestDownAndGone(t *testing.T) {
	dev := mustOpen(t, Config{LeaveDown: true})
	p := packet.AppendUDP(nil, netip.MustParseAddrPort("10.7.0.2:1"), netip.MustParseAddrPort("10.7.0.1:2"), 64, 0, nil)
	if n, err := dev.Write(p); n != 0 || err != l3conn.ErrDown {
		t.Error("Write to an interface that is down:", n, err)
	}
	link, err := netlink.LinkByName(dev.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	if n, err := dev.Write(p); n != len(p) || err != nil {
		t.Error("Write after it came up:", n, err)
	}
	if _, err := dev.Write([]byte{0x10, 0, 0, 0}); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
	ended := make(chan error)
	go func() { // ends when the interface goes
		buf := make([]byte, 1500)
		for {
			if _, err := dev.Read(buf); err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, syscall.ENODEV) || l3conn.Transient(err) {
		t.Error("Read after the interface was removed:", err)
	}
	if _, err := dev.Write(p); !errors.Is(err, syscall.ENODEV) || l3conn.Transient(err) {
		t.Error("Write after the interface was removed:", err)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}

func TestAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget on purpose")
	}
	dev := mustOpen(t, Config{Addrs: prefixes("10.8.0.1/24")})
	near, far := netip.MustParseAddrPort("10.8.0.1:1"), netip.MustParseAddrPort("10.8.0.2:2")
	host, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(near), net.UDPAddrFromAddrPort(far))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	p := packet.AppendUDP(nil, far, near, 64, 0, make([]byte, 100))
	caps := l3conn.Probe(dev)
	pkts, bufs, sizes := [][]byte{p, p, p}, make([][]byte, 3), make([]int, 3)
	for i := range bufs {
		bufs[i] = make([]byte, 1500)
	}
	round := func() {
		dev.Write(p)
		caps.Writer().WriteBatch(pkts)
		host.Write(p)
		dev.Read(bufs[0])
		host.Write(p)
		caps.Reader().ReadBatch(bufs, sizes)
	}
	for range 10 {
		round()
	}
	// A garbage collection may empty the pool once.
	if n := testing.AllocsPerRun(200, round); n > 0.5 {
		t.Errorf("%v allocations per round", n)
	}
}

func TestSyscallConn(t *testing.T) {
	dev := mustOpen(t, Config{})
	raw, err := dev.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var name string
	if err := raw.Control(func(fd uintptr) { name, _, err = adopted(int(fd)) }); err != nil {
		t.Fatal(err)
	}
	if err != nil || name != dev.Name() {
		t.Error(name, err)
	}
	dev.Close()
	if err := raw.Control(func(uintptr) {}); err == nil {
		t.Error("Control after Close")
	}
	if err := dev.SetReadDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestQueueLength: a fresh interface gets ours, one that somebody has set keeps his.
func TestQueueLength(t *testing.T) {
	needTUN(t)
	length := func(dev *Device) int {
		link, err := netlink.LinkByName(dev.Name())
		if err != nil {
			t.Fatal(err)
		}
		return link.Attrs().TxQLen
	}
	for set, want := range map[int]int{0: defaultQueueLength, -1: kernelsQueueLength, 77: 77} {
		dev := mustOpen(t, Config{Name: "l3queue", QueueLength: set, Persist: true})
		if got := length(dev); got != want {
			t.Errorf("QueueLength %d: %d packets, want %d", set, got, want)
		}
		link, _ := netlink.LinkByName(dev.Name())
		if err := netlink.LinkSetTxQLen(link, 90); err != nil {
			t.Fatal(err)
		}
		dev.Close()
		if again := mustOpen(t, Config{Name: "l3queue"}); length(again) != 90 {
			t.Errorf("a queue length of 90 became %d", length(again))
		} else {
			again.Close()
		}
		if err := netlink.LinkDel(link); err != nil {
			t.Fatal(err)
		}
	}
}
