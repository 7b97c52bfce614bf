package forward

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"l3extract/l3conn"
	"l3extract/stack"
	"l3extract/udp"
)

// TestSending: equal datagrams in a row to one target are one message, and each
// arrives as it was.
func TestSending(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		host := "127.0.0.1:0"
		if network == "udp6" {
			host = "[::1]:0"
		}
		var far [2]*net.UDPConn
		var at [2]netip.AddrPort
		for i := range far {
			pc, err := net.ListenPacket(network, host)
			if err != nil {
				t.Skip(err)
			}
			defer pc.Close()
			far[i] = pc.(*net.UDPConn)
			at[i] = far[i].LocalAddr().(*net.UDPAddr).AddrPort()
		}
		family := unix.AF_INET
		if network == "udp6" {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		type datagram struct{ to, size int }
		repeat := func(n int, d datagram) []datagram { return slices.Repeat([]datagram{d}, n) }
		for name, tc := range map[string]struct {
			all      []datagram
			messages int // with runs
		}{
			"one":             {repeat(1, datagram{0, 100}), 1},
			"equal":           {repeat(10, datagram{0, 1200}), 1},
			"last is shorter": {append(repeat(10, datagram{0, 1200}), datagram{0, 7}, datagram{0, 7}), 2},
			"longer":          {[]datagram{{0, 7}, {0, 8}, {0, 8}}, 2},
			"empty":           {[]datagram{{0, 0}, {0, 0}, {0, 9}, {0, 0}}, 4},
			"two targets":     {[]datagram{{0, 9}, {1, 9}, {1, 9}, {0, 9}}, 3},
			"64 KiB":          {repeat(60, datagram{0, 1400}), 2},
			"as many":         {repeat(64, datagram{1, 1}), 1},
		} {
			for _, single := range []bool{false, true} {
				t.Run(fmt.Sprint(network, " ", name, " ", single), func(t *testing.T) {
					u := &upstream{fd: fd, six: network == "udp6", single: single}
					g := new(sending)
					var want [2][][]byte
					for i, d := range tc.all {
						b := bytes.Repeat([]byte{byte(i)}, d.size)
						want[d.to] = append(want[d.to], b)
						g.add(b, at[d.to], u)
					}
					messages := tc.messages
					if single {
						messages = len(tc.all)
					}
					if g.n != messages || g.packets != len(tc.all) || g.first[g.n] != len(tc.all) {
						t.Fatalf("%d messages of %d datagrams, want %d", g.n, g.packets, messages)
					}
					for k := 0; k < g.n; {
						n, errno := g.send(fd, k)
						if errno != 0 {
							t.Fatal(errno)
						}
						k += n
					}
					g.reset()
					for i := range want {
						_ = far[i].SetReadDeadline(time.Now().Add(patience))
						for j, w := range want[i] {
							b := make([]byte, 2000)
							n, err := far[i].Read(b)
							if err != nil || !bytes.Equal(b[:n], w) {
								t.Fatalf("target %d, datagram %d: %d bytes, %v, want %d", i, j, n, err, len(w))
							}
						}
					}
				})
			}
		}
	}
}

// TestReceiver: single datagrams and runs, from either family, come with their
// sender and the size of each.
func TestReceiver(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		listen := func() *net.UDPConn {
			c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		from, to := listen(), listen()
		raw, err := to.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		r := newReceiver()
		_ = raw.Control(func(fd uintptr) {
			if n, err := r.receive(int(fd)); n != 0 || err != nil {
				t.Fatalf("%d, %v of an empty socket", n, err)
			}
			if err := unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
				t.Skip("no UDP_GRO:", err)
			}
			u := &upstream{six: host == "::1"}
			g := new(sending)
			at := to.LocalAddr().(*net.UDPAddr).AddrPort()
			for _, size := range []int{5, 100, 100, 100, 30} {
				g.add(make([]byte, size), at, u)
			}
			sender, err := from.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			_ = sender.Control(func(fd uintptr) {
				if n, errno := g.send(int(fd), 0); n != 2 || errno != 0 {
					t.Fatalf("sent %d of 2 messages: %v", n, errno)
				}
			})
			n, err := r.receive(int(fd))
			if n != 2 || err != nil {
				t.Fatalf("received %d, %v", n, err)
			}
			for i, want := range []struct{ size, segment int }{{5, 0}, {330, 100}} {
				b, segment, src := r.datagram(i)
				if len(b) != want.size || segment != want.segment || src != from.LocalAddr().(*net.UDPAddr).AddrPort() {
					t.Errorf("%d bytes of %d from %v, want %+v", len(b), segment, src, want)
				}
			}
			if got := datagrams(330, 100); got != 4 {
				t.Errorf("%d datagrams, want 4", got)
			}
		})
	}
}

// TestUpstreamFull: an upstream socket that has no room is waited for, without a
// goroutine, and what the client has sent meanwhile arrives in order, once.
func TestUpstreamFull(t *testing.T) {
	const n = 400
	host, far := newNetns(t), newNetns(t)
	host.join(far, []string{"198.51.100.1/24"}, []string{"198.51.100.7/24"})
	var slow error
	host.do(func() { // a slow line: what is on its way counts as the socket's
		link, err := netlink.LinkByName("near")
		if slow = err; err == nil {
			slow = netlink.QdiscAdd(&netlink.Tbf{
				QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
				Rate:       2 << 20, Limit: 4 << 20, Buffer: 100_000,
			})
		}
	})
	if slow != nil {
		t.Skip("no slow line here: ", slow)
	}
	server := far.udp("198.51.100.7:7")
	_ = server.SetReadBuffer(4 << 20)
	x, y := l3conn.Pipe(0, 0)
	c := runStack(t, x, stack.Config{Addrs: clientAddrs})
	s := runStack(t, y, stack.Config{UDP: udp.Config{QueueBytes: -1, QueueDatagrams: -1}})
	srv := &Server{PacketListener: host}
	(&rig{t: t, fwd: srv, work: srv.newSession(s)}).serve()
	conn, err := c.DialContext(soon(t), "udp", "198.51.100.7:7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	random := rand.New(rand.NewPCG(1, 2))
	want := make([][]byte, n)
	for i := range want {
		want[i] = bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 500+100*random.IntN(3))
		if _, err := conn.Write(want[i]); err != nil {
			t.Fatal(err)
		}
	}
	_ = server.SetReadDeadline(time.Now().Add(2 * patience))
	for i, w := range want {
		b := make([]byte, 2000)
		n, err := server.Read(b)
		if err != nil || !bytes.Equal(b[:n], w) {
			t.Fatalf("datagram %d: %d bytes, %v, want %d; %+v, %v", i, n, err, len(w), srv.Stats(), s.Stats().Drops)
		}
	}
	wait(t, "the counters", func() bool { return srv.Stats().DatagramsOut == n })
	if st := srv.Stats(); st.DatagramsLost != 0 {
		t.Errorf("%+v", st)
	}
}
