package forward

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// netns is a network namespace of the test's own, with a thread in it.
type netns struct {
	t    testing.TB
	fd   int
	jobs chan func()
}

// newNetns makes a namespace whose loopback interface is up and has addrs.
func newNetns(t testing.TB, addrs ...string) *netns {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	n := &netns{t: t, fd: -1, jobs: make(chan func())}
	made, ended := make(chan error), make(chan struct{})
	go func() { // ends with jobs, and its thread with it: it is not fit for others
		defer close(ended)
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- err
		for job := range n.jobs {
			job()
		}
	}()
	err := <-made
	t.Cleanup(func() {
		close(n.jobs)
		<-ended
		_ = unix.Close(n.fd)
	})
	if err != nil {
		t.Fatal(err)
	}
	n.do(func() { n.up("lo", addrs) })
	return n
}

// up gives an interface addresses and sets it up. It runs in the namespace.
func (n *netns) up(name string, addrs []string) {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	for _, a := range addrs {
		addr, parseErr := netlink.ParseAddr(a)
		if parseErr != nil {
			n.t.Error(parseErr)
			continue
		}
		addr.Flags = unix.IFA_F_NODAD
		if err == nil {
			err = netlink.AddrAdd(link, addr)
		}
	}
	if err != nil {
		n.t.Error(err)
	}
}

// join makes a cable between n and m, which have these addresses on it.
func (n *netns) join(m *netns, near, far []string) {
	n.t.Helper()
	n.do(func() {
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far", PeerNamespace: netlink.NsFd(m.fd),
		})
		if err != nil {
			n.t.Error(err)
			return
		}
		n.up("near", near)
	})
	m.do(func() { m.up("far", far) })
}

// do runs f in the namespace and waits for it.
func (n *netns) do(f func()) {
	done := make(chan struct{})
	n.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

// path names the namespace.
func (n *netns) path() string { return fmt.Sprintf("/proc/self/fd/%d", n.fd) }

// ListenPacket makes the namespace a PacketListener. A socket stays where it was
// made.
func (n *netns) ListenPacket(ctx context.Context, network, address string) (pc net.PacketConn, err error) {
	n.do(func() {
		var lc net.ListenConfig
		pc, err = lc.ListenPacket(ctx, network, address)
	})
	return pc, err
}

// udp opens a socket of the namespace, which is closed with the test.
func (n *netns) udp(address string) *net.UDPConn {
	n.t.Helper()
	pc, err := n.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = pc.Close() })
	return pc.(*net.UDPConn)
}
