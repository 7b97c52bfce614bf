package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"l3extract/internal/packet"
	"l3extract/l3conn"
)

// handover names the descriptor of the socket on which a process of the test
// gives its TUN away.
const handover = "L3CONN_TUN_TEST_HANDOVER"

// handOver is that process: it opens a TUN, which is in its own namespace, hands
// the descriptor over and lives until the socket closes. It returns an exit code.
func handOver(fd string) int {
	n, _ := strconv.Atoi(fd)
	dev, err := Open(&Config{Name: "l3far", MTU: 1400, Addrs: prefixes("10.9.0.1/24")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	host, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(10, 9, 0, 1), Port: 7})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	raw, _ := dev.SyscallConn()
	raw.Control(func(tun uintptr) { err = unix.Sendmsg(n, []byte{0}, unix.UnixRights(int(tun)), nil, 0) })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	dev.Close() // the other process has it now
	buf := make([]byte, 100)
	size, from, err := host.ReadFromUDP(buf)
	if err == nil {
		_, err = host.WriteToUDP(buf[:size], from)
	}
	unix.Read(n, buf) // until the test has what it wanted
	if err != nil {
		return 2
	}
	return 0
}

// TestOtherProcess takes over a TUN from a process in another namespace, where
// no question about the interface can be asked.
func TestOtherProcess(t *testing.T) {
	needTUN(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	cmd, err := isolated(handover + "=3")
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles, cmd.Stderr = []*os.File{theirs}, os.Stderr
	cmd.SysProcAttr.Pdeathsig = 0 // the thread may end before the process should
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	defer func() {
		unix.Close(pair[0])
		if err := cmd.Wait(); err != nil {
			t.Error("the other process:", err)
		}
	}()
	var oob [64]byte
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), oob[:], unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		t.Fatal("no descriptor came:", err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		t.Fatal(err)
	}
	dev, err := FromFD(fds[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if dev.Name() != "l3far" {
		t.Error(dev.Name())
	}
	if dev.MTU() != 1500 {
		t.Errorf("MTU %d of an interface that nobody can ask about", dev.MTU())
	}
	near, far := netip.MustParseAddrPort("10.9.0.1:7"), netip.MustParseAddrPort("10.9.0.2:9")
	if _, err := dev.Write(packet.AppendUDP(nil, far, near, 64, 0, []byte("hello"))); err != nil {
		t.Fatal(err)
	}
	var in packet.Packet
	for buf := make([]byte, 1500); in.Proto != packet.UDP; {
		n, err := dev.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		in.Decode(buf[:n])
	}
	if in.SrcAddrPort() != near || string(in.Payload) != "hello" {
		t.Errorf("%v: %q", in.SrcAddrPort(), in.Payload)
	}
}

// otherNetNS returns a path to a fresh namespace.
func otherNetNS(t *testing.T) string {
	t.Helper()
	fds, errs := make(chan int, 1), make(chan error, 1)
	go func() { // ends at once, and its thread with it: the descriptor keeps the namespace
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			errs <- err
			return
		}
		fd, err := unix.Open(threadNetNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		fds <- fd
		errs <- err
	}()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	fd := <-fds
	t.Cleanup(func() { unix.Close(fd) })
	return fmt.Sprintf("/proc/self/fd/%d", fd)
}

func TestOtherNetNS(t *testing.T) {
	needTUN(t)
	ns := otherNetNS(t)
	dev := mustOpen(t, Config{Name: "l3other", NetNS: ns, MTU: 1300, Addrs: prefixes("2001:db8:a::1/64", "10.10.0.1/24")})
	if _, err := net.InterfaceByName("l3other"); err == nil {
		t.Error("the interface is in the namespace of the caller")
	}
	if err := inNetNS(ns, func() {
		if i, err := net.InterfaceByName("l3other"); err != nil || i.MTU != 1300 || i.Flags&net.FlagUp == 0 {
			t.Error(i, err)
		}
	}); err != nil {
		t.Error(err)
	}
	// The one with the same name here is another one.
	mustOpen(t, Config{Name: "l3other", MTU: 9000})
	raw, _ := dev.SyscallConn()
	raw.Control(func(fd uintptr) {
		if mtu := askMTU(int(fd), "l3other"); mtu != 1500 {
			t.Errorf("MTU %d was taken from another interface", mtu)
		}
	})
	p := packet.AppendUDP(nil, netip.MustParseAddrPort("10.10.0.2:1"), netip.MustParseAddrPort("10.10.0.1:2"), 64, 0, nil)
	if _, err := dev.Write(p); err != nil {
		t.Error(err)
	}
	in := packet.Packet{}
	for buf := make([]byte, 1500); in.Proto != packet.ICMPv4; { // nobody listens: the namespace's host says so
		n, err := dev.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		in.Decode(buf[:n])
	}
}

// attach opens a TUN as an application would, with flags of its own.
func attach(t *testing.T, flags uint16) *os.File {
	t.Helper()
	needTUN(t)
	f, err := os.OpenFile(clone, os.O_RDWR, 0) // the poller meets it before it has an interface
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if flags == 0 {
		return f
	}
	ifr, _ := unix.NewIfreq("")
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFromFile(t *testing.T) {
	f := attach(t, unix.IFF_TUN|unix.IFF_NO_PI)
	dev, err := FromFile(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if _, err := f.Stat(); err == nil {
		t.Error("the file is still open")
	}
	if i, err := net.InterfaceByName(dev.Name()); err != nil || i.Flags&net.FlagUp != 0 {
		t.Error("the interface was changed:", i, err)
	}
	if dev.MTU() != 1500 {
		t.Error(dev.MTU())
	}
	closed := make(chan error)
	go func() { // ends by Close
		_, err := dev.Read(make([]byte, 1500))
		closed <- err
	}()
	dev.Close()
	<-closed
}

func TestFromFileMTU(t *testing.T) {
	for _, c := range []struct{ given, want int }{{0, 4000}, {1400, 1400}} {
		first := mustOpen(t, Config{MTU: 4000})
		raw, _ := first.SyscallConn()
		var fd int
		raw.Control(func(old uintptr) { fd, _ = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
		dev, err := FromFD(fd, c.given)
		if err != nil {
			t.Fatal(err)
		}
		if dev.MTU() != c.want {
			t.Errorf("MTU %d, want %d", dev.MTU(), c.want)
		}
		dev.Close()
		first.Close()
	}
}

// TestHeader: a TUN with headers in front of its packets looks like any other
// until the first packet.
func TestHeader(t *testing.T) {
	for _, c := range []struct {
		flags uint16
		how   string
	}{
		{0, "Read"}, {0, "ReadBatch"}, {unix.IFF_VNET_HDR, "Read"}, {unix.IFF_VNET_HDR, "ReadSegments"},
	} {
		dev, err := FromFile(attach(t, unix.IFF_TUN|c.flags), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		link, err := netlink.LinkByName(dev.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil { // the host has a word with its routers
			t.Fatal(err)
		}
		buf := make([]byte, 1500)
		switch c.how {
		case "ReadBatch":
			_, err = l3conn.Probe(dev).Reader().ReadBatch([][]byte{buf}, make([]int, 1))
		case "ReadSegments":
			_, err = mustOffload(t, dev).ReadSegments(rooms(3))
		default:
			_, err = dev.Read(buf)
		}
		if !errors.Is(err, errHeader) || l3conn.Transient(err) {
			t.Error(c, err)
		}
	}
}

func TestFromFileRefuses(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, c := range []struct {
		file func() *os.File
		say  string
	}{
		{func() *os.File { return r }, "not a TUN"},
		{func() *os.File { return attach(t, 0) }, "no interface"},
		{func() *os.File { return attach(t, unix.IFF_TAP|unix.IFF_NO_PI) }, "TAP"},
		{func() *os.File {
			f := attach(t, unix.IFF_TUN|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
			if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.TUNSETVNETHDRSZ, 100); err != nil {
				t.Fatal(err)
			}
			return f
		}, "header of 100 bytes"},
	} {
		needTUN(t)
		f := c.file()
		if _, err := FromFile(f, 0); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("want %q: %v", c.say, err)
		}
		if _, err := f.Stat(); err != nil {
			t.Error("a refused file must stay the caller's:", err)
		}
		f.Close()
	}
}
