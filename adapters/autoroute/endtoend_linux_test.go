package autoroute

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/adapters/direct"
	"l3extract/adapters/forward"
	"l3extract/adapters/netwatch"
	"l3extract/adapters/outbound"
	"l3extract/l3conn/tun"
	"l3extract/stack"
)

// asHost makes a test its own child, whose network namespace is the host. It names a
// directory of the parent's.
const asHost = "AUTOROUTE_TEST_HOST"

// inHost runs f in a process of its own, in a fresh namespace; its parent gets false.
func inHost(t *testing.T) bool {
	t.Helper()
	if os.Getenv(asHost) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), asHost+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "SKIP") {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// cable joins the process's own namespace, which is here, with a gateway to everywhere.
func cable(t *testing.T, here *netns) (gateway *netns) {
	gateway = newNetns(t)
	here.noDAD()
	here.ip("link add lan0 type veth peer name lan0 netns " + gateway.path())
	gateway.ip("addr add 192.0.2.1/24 dev lan0", "addr add 2001:db8:1::1/64 dev lan0 nodad", "link set lan0 up",
		"addr add 198.51.100.1/32 dev lo", "addr add 2001:db8:2::1/128 dev lo nodad")
	here.ip("addr add 192.0.2.2/24 dev lan0", "addr add 2001:db8:1::2/64 dev lan0 nodad", "link set lan0 up",
		"route add default via "+gw4, "route add default via "+gw6)
	here.awaitIPv6()
	return gateway
}

// serve echoes TCP and UDP on the addresses of a gateway.
func (n *netns) serve(port string) {
	n.t.Helper()
	for _, host := range []string{gw4, gw6, "198.51.100.1", "2001:db8:2::1"} {
		n.serveOn(net.JoinHostPort(host, port))
	}
}

func (n *netns) serveOn(address string) {
	n.t.Helper()
	var l net.Listener
	var pc net.PacketConn
	n.do(func() {
		var err error
		if l, err = net.Listen("tcp", address); err == nil {
			pc, err = net.ListenPacket("udp", address)
		}
		if err != nil {
			n.t.Error(err)
		}
	})
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	n.t.Cleanup(func() {
		_, _ = l.Close(), pc.Close()
		cancel()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // its client may have gone without a word
			wg.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
				stop()
			})
		}
	})
	wg.Go(func() {
		b := make([]byte, 1500)
		for {
			k, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:k], from)
		}
	})
}

// tunnel is a stack on a TUN, which a Server forwards.
type tunnel struct {
	dev    *tun.Device
	stack  *stack.Stack
	server *forward.Server
	ended  chan stack.Flow
	wg     sync.WaitGroup
}

func newTunnel(t *testing.T, srv *forward.Server) *tunnel {
	t.Helper()
	dev, err := tun.Open(&tun.Config{Name: tunName, LeaveDown: true})
	if err != nil {
		t.Fatal(err)
	}
	u := &tunnel{dev: dev, server: srv, ended: make(chan stack.Flow, 1000)}
	cfg := &stack.Config{}
	cfg.TCP.LazyHandshake = true
	cfg.Trace.Close = func(f stack.Flow) { u.ended <- f }
	if u.stack, err = stack.New(dev, cfg); err != nil {
		t.Fatal(err)
	}
	u.stack.TCP()
	u.stack.UDP()
	u.wg.Go(func() { _ = u.stack.Run(context.Background()) })
	u.wg.Go(func() { _ = srv.Serve(context.Background(), u.stack) })
	t.Cleanup(u.kill)
	return u
}

// kill ends the tunnel as kill -9 does: the interface goes, routes and rules stay.
func (u *tunnel) kill() {
	_ = u.stack.Close()
	u.wg.Wait()
	_ = u.dev.Close()
}

// exchange sends something and wants it back.
func exchange(network, address string) error {
	c, err := (&net.Dialer{Timeout: patience}).Dial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err = c.Write([]byte("hello")); err != nil {
		return err
	}
	b := make([]byte, 10)
	n, err := c.Read(b)
	if err == nil && string(b[:n]) != "hello" {
		err = errors.New("got " + string(b[:n]))
	}
	return err
}

// sniffer is what comes by an interface.
type sniffer struct {
	fd int
	t  *testing.T
}

// sniff listens on lan0 of the namespace.
func (n *netns) sniff(t *testing.T) *sniffer {
	s := &sniffer{t: t}
	n.do(func() {
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8
		var err error
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

// seen returns how many packets of each kind have come in since the last call. What is
// of the link alone is not counted.
func (s *sniffer) seen() map[string]int {
	kinds := make(map[string]int)
	b := make([]byte, 65536)
	for {
		n, from, err := unix.Recvfrom(s.fd, b, 0)
		if err != nil {
			return kinds
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype == unix.PACKET_OUTGOING || n < 20 {
			continue
		}
		p := b[:n]
		var proto byte
		var dst netip.Addr
		switch p[0] >> 4 {
		case 4:
			proto, dst = p[9], netip.AddrFrom4([4]byte(p[16:20]))
			p = p[int(p[0]&15)*4:]
		case 6:
			proto, dst = p[6], netip.AddrFrom16([16]byte(p[24:40]))
			p = p[40:]
			if proto == unix.IPPROTO_ICMPV6 || proto == 0 || dst.IsMulticast() || dst.IsLinkLocalUnicast() {
				continue // neighbours
			}
			kinds["IPv6"]++
		default:
			continue
		}
		kinds["to "+dst.String()]++
		if proto == unix.IPPROTO_TCP || proto == unix.IPPROTO_UDP {
			switch binary.BigEndian.Uint16(p[2:]) {
			case 53, 853:
				kinds["DNS"]++
			}
		}
	}
}

// TestNoLeak: what comes out of a host on its LAN while the tunnel is there, and with
// Strict when it is dead: no DNS, and none of a family that the tunnel does not carry.
func TestNoLeak(t *testing.T) {
	if !inHost(t) {
		return
	}
	here := newHere(t)
	gateway := cable(t, here)
	for _, port := range []string{"53", "80", "853"} {
		gateway.serve(port)
	}
	lan := gateway.sniff(t)
	answered := &answerer{}
	dialer := &direct.Dialer{Mark: DefaultMark}
	srv := &forward.Server{Dialer: dialer, RouteNeverWaits: true, Route: func(_ context.Context, f outbound.Flow) (forward.Target, error) {
		switch f.Destination.Port() {
		case 53, 853: // answered here
			if f.Network == "tcp" {
				return forward.Target{}, syscall.ECONNREFUSED
			}
			return forward.Target{Handler: answered}, nil
		}
		return forward.Target{}, nil
	}}
	cfg := Config{Device: tunName, Addrs: prefixes("10.200.0.1/30"), Strict: true, StateDir: t.TempDir()}
	u := newTunnel(t, srv)
	r, err := Setup(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	questions := []struct{ network, address string }{
		{"udp4", gw4 + ":53"}, {"udp4", "198.51.100.1:53"}, {"udp4", gw4 + ":853"}, {"tcp4", gw4 + ":53"}, {"tcp4", "198.51.100.1:853"},
		{"udp6", "[" + gw6 + "]:53"}, {"udp6", "[2001:db8:2::1]:53"}, {"tcp6", "[" + gw6 + "]:853"}, {"tcp6", "[2001:db8:2::1]:80"},
	}
	lan.seen()
	for _, q := range questions {
		err := exchange(q.network, q.address)
		if (err == nil) != (q.network == "udp4") {
			t.Errorf("%s %s: %v", q.network, q.address, err)
		}
	}
	if err := exchange("tcp4", "198.51.100.1:80"); err != nil {
		t.Error(err)
	}
	if err := exchange("tcp4", gw4+":80"); err != nil { // the LAN stays reachable
		t.Error(err)
	}
	seen := lan.seen()
	if seen["DNS"] != 0 || seen["IPv6"] != 0 || seen["to 198.51.100.1"] == 0 || seen["to "+gw4] == 0 {
		t.Errorf("alive: %v", seen)
	}
	r.once.Do(func() {}) // it never gets to Close
	r.release()
	u.kill()
	lan.seen()
	questions = append(questions, struct{ network, address string }{"tcp4", "198.51.100.1:80"})
	for _, q := range questions {
		if err := exchange(q.network, q.address); err == nil {
			t.Errorf("dead: %s %s was answered", q.network, q.address)
		}
	}
	if seen := lan.seen(); len(seen) != 0 {
		t.Errorf("dead: %v", seen)
	}
	if err := Cleanup(&cfg); err != nil {
		t.Error(err)
	}
	for _, q := range questions {
		if err := exchange(q.network, q.address); err != nil {
			t.Errorf("cleaned up: %s %s: %v", q.network, q.address, err)
		}
	}
	if seen := lan.seen(); seen["DNS"] == 0 || seen["IPv6"] == 0 {
		t.Errorf("the sniffer is blind: %v", seen)
	}
}

// answerer is a resolver that repeats the question.
type answerer struct{}

func (*answerer) HandlePacket(_ outbound.Flow, p []byte, reply func(p []byte)) {
	reply(bytes.Clone(p))
}

// TestChange: the interface by which everything leaves goes, and the default route is
// another's: flows end with their cause, datagrams go on from the new one, and so do new
// connections.
func TestChange(t *testing.T) {
	if !inHost(t) {
		return
	}
	here := newHere(t)
	gateway := cable(t, here)
	here.ip("link add lan1 type veth peer name lan1 netns " + gateway.path())
	gateway.ip("addr add 192.0.3.1/24 dev lan1", "link set lan1 up")
	here.ip("addr add 192.0.3.2/24 dev lan1", "link set lan1 up")
	gateway.serve("80")
	watch, err := netwatch.New(&netwatch.Config{Skip: []string{tunName}, Settle: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_ = watch.Close() // one that knows the server
	srv := &forward.Server{Dialer: &direct.Dialer{Mark: DefaultMark, InterfaceOf: func(network string) (string, error) { return watch.Interface(network) }}}
	watch, err = netwatch.New(&netwatch.Config{
		Skip: []string{tunName}, Settle: time.Millisecond,
		Changed: func(_, _ netwatch.Defaults) { srv.EndVia(watch.Lost) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error)
	go func() { ran <- watch.Run(t.Context()) }()
	defer func() {
		if err := errors.Join(watch.Close(), <-ran); err != nil {
			t.Error(err)
		}
	}()
	u := newTunnel(t, srv)
	r, err := Setup(&Config{Device: tunName, StateDir: t.TempDir(), Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	dial := func(network string) net.Conn {
		t.Helper()
		c, err := net.Dial(network, "198.51.100.1:80")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	ask := func(c net.Conn) error {
		_, err := c.Write([]byte("x"))
		if err == nil {
			_, err = c.Read(make([]byte, 10))
		}
		return err
	}
	stream, datagrams := dial("tcp"), dial("udp")
	if err := errors.Join(ask(stream), ask(datagrams)); err != nil {
		t.Fatal(err)
	}
	here.ip("link del lan0", "route add default via 192.0.3.1")
	if _, err := stream.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the flow of the interface that has gone: %v", err)
	}
	for f := range u.ended {
		if f.Network == "tcp" {
			if !errors.Is(f.Cause, stack.PathLost) {
				t.Errorf("it ended with %v", f.Cause)
			}
			break
		}
	}
	for end := time.Now().Add(patience); ; { // the Monitor may see both changes at once, or not yet the second
		_ = datagrams.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if err := ask(datagrams); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal("datagrams do not go on:", err)
		}
	}
	if err := ask(dial("tcp")); err != nil {
		t.Error(err)
	}
	if n := srv.Stats().Sockets; n != 1 {
		t.Errorf("%d mappings", n)
	}
}
