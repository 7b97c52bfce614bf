package forward

import (
	"bytes"
	"encoding/binary"
	"flag"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/l3conn/tun"
	"l3extract/stack"
)

// Flags of TestRate, for measurements.
var (
	rateMbit = flag.Int("forward.mbit", 100, "TestRate sends so many Mbit/s each way; 0 is as fast as it can")
	rateTime = flag.Duration("forward.time", 300*time.Millisecond, "TestRate sends for so long in each of its five runs")
	rateLoss = flag.Bool("forward.lossless", false, "TestRate fails if more than one run of five loses a datagram")
)

// rateSize is the payload of a datagram, in bytes.
const rateSize = 1200

// load is one run: a client behind a TUN sends, a server of the host sends back.
// Client and server have threads of their own, whose CPU time is not the stack's.
type load struct {
	t              testing.TB
	client, server int // descriptors
	to             unix.Sockaddr

	sent, heard, back atomic.Uint64 // by the client, by the server, by the client again
	theirs            atomic.Int64  // CPU time of their threads
}

// socket opens a blocking socket of n that gives up after a while.
func (n *netns) socket(t testing.TB, bind netip.AddrPort) int {
	t.Helper()
	var fd int
	var err error
	n.do(func() {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil && bind.IsValid() {
			err = unix.Bind(fd, &unix.SockaddrInet4{Addr: bind.Addr().As4(), Port: int(bind.Port())})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000})
	return fd
}

// thread runs f on a thread of its own and notes its CPU time.
func (l *load) thread(all *sync.WaitGroup, f func()) {
	all.Go(func() {
		runtime.LockOSThread() // and never unlock: the thread ends
		before := cpu(unix.CLOCK_THREAD_CPUTIME_ID)
		f()
		l.theirs.Add(cpu(unix.CLOCK_THREAD_CPUTIME_ID) - before)
	})
}

// cpu reads a clock of CPU time, in nanoseconds.
func cpu(clock int32) int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(clock, &ts)
	return ts.Nano()
}

// run sends for d and returns the CPU time of the process without those threads.
func (l *load) run(mbit int, d time.Duration) time.Duration {
	before := cpu(unix.CLOCK_PROCESS_CPUTIME_ID)
	var all sync.WaitGroup
	var quiet, silent atomic.Bool // the client, and the server too, has said all
	l.thread(&all, func() {       // the server, until nothing comes any more
		defer silent.Store(true)
		b := make([]byte, 2000)
		for {
			last := quiet.Load()
			n, from, err := unix.Recvfrom(l.server, b, 0)
			if err != nil {
				if last {
					return
				}
				continue
			}
			l.heard.Add(1)
			if err := unix.Sendto(l.server, b[:n], 0, from); err != nil {
				l.t.Error(err)
			}
		}
	})
	l.thread(&all, func() { // the client's other half
		for b := make([]byte, 2000); ; {
			last := silent.Load()
			if _, _, err := unix.Recvfrom(l.client, b, 0); err == nil {
				l.back.Add(1)
			} else if last {
				return
			}
		}
	})
	l.thread(&all, func() {
		defer quiet.Store(true)
		l.send(mbit, d)
	})
	all.Wait()
	return time.Duration(cpu(unix.CLOCK_PROCESS_CPUTIME_ID) - before - l.theirs.Load())
}

func (l *load) send(mbit int, d time.Duration) {
	b := bytes.Repeat([]byte("datagram"), rateSize/8)
	begin := time.Now()
	for n := uint64(0); ; {
		now := time.Since(begin)
		if now > d {
			return
		}
		due := n + 64
		if mbit > 0 {
			due = uint64(now.Seconds() * float64(mbit) * 1e6 / 8 / rateSize)
		}
		for ; n < due; n++ {
			binary.NativeEndian.PutUint64(b, n)
			if err := unix.Sendto(l.client, b, 0, l.to); err != nil {
				l.t.Error(err)
				return
			}
			l.sent.Add(1)
		}
		if mbit > 0 {
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 500_000}, nil) // the rate is what was asked for, not a wait for something
		}
	}
}

// kernelLost returns what the kernel has dropped in a namespace: full socket buffers,
// and the queues of its TUN.
func (n *netns) kernelLost(t testing.TB) uint64 {
	t.Helper()
	var lost uint64
	n.do(func() {
		snmp, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			t.Error(err)
		}
		var names []string
		for line := range strings.Lines(string(snmp)) {
			fields := strings.Fields(line)
			if fields[0] != "Udp:" {
				continue
			}
			if names == nil {
				names = fields
				continue
			}
			for i, name := range names {
				if name == "RcvbufErrors" || name == "SndbufErrors" || name == "InCsumErrors" || name == "MemErrors" {
					v, _ := strconv.ParseUint(fields[i], 10, 64)
					lost += v
				}
			}
		}
		dev, err := os.ReadFile("/proc/thread-self/net/dev")
		if err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(string(dev)) {
			name, rest, ok := strings.Cut(line, ":")
			if fields := strings.Fields(rest); ok && strings.TrimSpace(name) != "lo" && len(fields) > 11 {
				for _, i := range []int{3, 11} { // dropped, either way
					v, _ := strconv.ParseUint(fields[i], 10, 64)
					lost += v
				}
			}
		}
	})
	return lost
}

// newTUNWorld returns a namespace whose way to the other one, which has the address
// 192.0.2.7, leads through a TUN, a stack and a Server.
func newTUNWorld(t testing.TB) (behind, host *netns, s *stack.Stack, srv *Server) {
	t.Helper()
	host, behind = newNetns(t, "192.0.2.7/32"), newNetns(t)
	behind.do(func() { // nothing but what the test sends shall be counted
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	})
	dev, err := tun.Open(&tun.Config{
		Name: "l3rate", NetNS: behind.path(),
		Addrs:  []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24")},
		Routes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	})
	if err != nil {
		t.Skip("no TUN here:", err)
	}
	t.Cleanup(func() { _ = dev.Close() })
	s = runStack(t, dev, stack.Config{})
	srv = &Server{PacketListener: host}
	(&rig{t: t, fwd: srv, work: srv.newSession(s)}).serve()
	return behind, host, s, srv
}

// BenchmarkPingPong is the time from a question to its answer, of a client behind a
// TUN that asks one at a time.
func BenchmarkPingPong(b *testing.B) {
	behind, host, _, _ := newTUNWorld(b)
	at := netip.MustParseAddrPort("192.0.2.7:7")
	to := &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	server, client := host.socket(b, at), behind.socket(b, netip.AddrPort{})
	var done atomic.Bool
	var all sync.WaitGroup
	defer all.Wait()
	defer done.Store(true)
	all.Go(func() { // ends when its socket gives up
		for buf := make([]byte, 100); !done.Load(); {
			if n, from, err := unix.Recvfrom(server, buf, 0); err == nil {
				_ = unix.Sendto(server, buf[:n], 0, from)
			}
		}
	})
	buf := make([]byte, 100)
	for b.Loop() {
		if err := unix.Sendto(client, buf[:32], 0, to); err != nil {
			b.Fatal(err)
		}
		if _, _, err := unix.Recvfrom(client, buf, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRate sends datagrams of 1200 bytes both ways, through a TUN and real sockets,
// and accounts for each: what was sent has arrived, or stands in a counter of ours or
// of the kernel.
func TestRate(t *testing.T) {
	behind, host, s, srv := newTUNWorld(t)
	at := netip.MustParseAddrPort("192.0.2.7:7")
	server := host.socket(t, at)
	lossy := 0
	for run := range 5 {
		l := &load{
			t: t, client: behind.socket(t, netip.AddrPort{}), server: server,
			to: &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())},
		}
		ours := func() (n uint64) {
			for _, k := range s.Stats().Drops {
				n += k
			}
			return n + srv.Stats().DatagramsLost
		}
		before := ours() + host.kernelLost(t) + behind.kernelLost(t)
		used := l.run(*rateMbit, *rateTime)
		counted := ours() + host.kernelLost(t) + behind.kernelLost(t) - before
		sent, back := l.sent.Load(), l.back.Load()
		lost := sent - back // one that is lost on its way there does not come back
		t.Logf("run %d: %d sent, %d heard, %d came back; %d lost, %d counted; %.2f µs of CPU per datagram",
			run, sent, l.heard.Load(), back, lost, counted, float64(used.Microseconds())/float64(l.heard.Load()+back))
		if sent == 0 || back == 0 {
			t.Error("nothing was sent")
		}
		if lost != counted {
			t.Errorf("%d datagrams are lost, %d stand in a counter", lost, counted)
		}
		if lost > 0 {
			lossy++
		}
	}
	if *rateLoss && lossy > 1 {
		t.Errorf("%d of 5 runs lost datagrams", lossy)
	}
	if testing.Verbose() {
		t.Logf("%v", srv.Stats())
		t.Logf("%v", s.Stats().Drops)
	}
}
