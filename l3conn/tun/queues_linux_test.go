package tun

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/internal/packet"
	"l3extract/l3conn"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestQueues(t *testing.T) {
	needTUN(t)
	queues, err := OpenQueues(&Config{Name: "l3mq%d", MTU: 1400, Addrs: prefixes("10.24.0.1/24")}, 3)
	if err != nil {
		t.Fatal(err)
	}
	// One more, as another process would.
	queues = append(queues, mustOpen(t, Config{Name: "l3mq0", MultiQueue: true}))
	for _, q := range queues {
		defer q.Close()
		if q.Name() != "l3mq0" || q.MTU() != 1400 {
			t.Error(q.Name(), q.MTU())
		}
		mustOffload(t, q)
	}
	if _, err := Open(&Config{Name: "l3mq0"}); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "MultiQueue") {
		t.Error("without MultiQueue:", err)
	}
	host, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr("10.24.0.1:7")))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	host.SetDeadline(time.Now().Add(20 * time.Second))
	// The answers of a flow come to the queue on which its packets were written.
	for round := range 20 {
		for i, q := range queues {
			far := netip.AddrPortFrom(netip.MustParseAddr("10.24.0.2"), uint16(1000+10*round+i))
			if _, err := q.Write(packet.AppendUDP(nil, far, addr("10.24.0.1:7"), 64, 0, []byte{byte(i)})); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 10)
			n, from, err := host.ReadFromUDPAddrPort(b)
			if err != nil || from != far {
				t.Fatal(from, err)
			}
			if _, err := host.WriteToUDPAddrPort(b[:n], from); err != nil {
				t.Fatal(err)
			}
			q.SetReadDeadline(time.Now().Add(20 * time.Second))
			var in packet.Packet
			for segs := rooms(1); in.Proto != packet.UDP; {
				n, err := l3conn.Probe(q).Offloader.ReadSegments(segs)
				if n != 1 || err != nil {
					t.Fatal(i, err)
				}
				in.Decode(segs[0].Parts[0][:segs[0].Size])
			}
			if in.DstAddrPort() != far || in.Payload[0] != byte(i) {
				t.Fatal(in.DstAddrPort(), in.Payload)
			}
		}
	}
	for i, q := range queues {
		if _, err := net.InterfaceByName("l3mq0"); err != nil {
			t.Fatal("gone with", len(queues)-i, "queues open")
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := net.InterfaceByName("l3mq0"); err == nil {
		t.Error("the interface is still there")
	}
}

func TestQueuesErrors(t *testing.T) {
	for _, n := range []int{-1, 0, 257} {
		if _, err := OpenQueues(nil, n); err == nil || !strings.Contains(err.Error(), "queues") {
			t.Error(n, err)
		}
	}
	if _, err := OpenQueues(&Config{MTU: 3}, 2); err == nil {
		t.Error("a wrong Config")
	}
	one := mustOpen(t, Config{Name: "l3single"})
	if _, err := OpenQueues(&Config{Name: "l3single"}, 2); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EBUSY) {
		t.Error("of an interface with one queue:", err)
	}
	one.Close()
	queues, err := OpenQueues(nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer queues[0].Close()
	if _, err := Open(&Config{Name: queues[0].Name(), MultiQueue: true}); err == nil {
		t.Error("a second queue of one")
	}
}

// TestFromFileHeader takes over TUNs with headers of several sizes, one of which
// somebody has switched offload on for.
func TestFromFileHeader(t *testing.T) {
	quiet(t)
	for _, size := range []int{10, 12, 20, 24} {
		first := mustOpen(t, Config{Addrs: prefixes("10.25.0.1/24")})
		raw, _ := first.SyscallConn()
		var fd int
		raw.Control(func(old uintptr) {
			if err := unix.IoctlSetPointerInt(int(old), unix.TUNSETVNETHDRSZ, size); err != nil {
				t.Fatal(err)
			}
			if err := setOffload(int(old), l3conn.OffloadAll); err != nil {
				t.Log(err)
			}
			fd, _ = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
		})
		dev, err := FromFD(fd, 0)
		if err != nil {
			t.Fatal(err)
		}
		dev.SetReadDeadline(time.Now().Add(20 * time.Second))
		conn := segmentSocket(t, addr("10.25.0.2:9"), 1000)
		conn.Write(make([]byte, 2000))
		buf := make([]byte, 2000)
		for range 2 {
			n, err := dev.Read(buf)
			var in packet.Packet
			in.Decode(buf[:n])
			if err != nil || n != 1028 || !in.ChecksumOK() || in.DstAddrPort() != addr("10.25.0.2:9") {
				t.Error(size, n, err)
			}
		}
		near := addr(conn.LocalAddr().String())
		answer := packet.AppendUDP(nil, addr("10.25.0.2:9"), near, 64, 0, []byte("answer"))
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := dev.Write(answer); err != nil {
			t.Error(err)
		}
		if n, err := conn.Read(buf); string(buf[:n]) != "answer" {
			t.Error(size, n, err)
		}
		o, segs := mustOffload(t, dev), rooms(2)
		if _, err := o.WriteSegments([]l3conn.Segment{{Parts: [][]byte{answer[:1], answer[1:]}}}); err != nil {
			t.Error(err)
		}
		if n, err := conn.Read(buf); string(buf[:n]) != "answer" {
			t.Error(size, n, err)
		}
		if features, _ := o.Offload(); features.Has(l3conn.OffloadUDP) {
			conn.Write(make([]byte, 2000))
			if n, err := o.ReadSegments(segs); n != 1 || err != nil || segs[0].Kind != l3conn.SegmentUDP || segs[0].Size != 2028 {
				t.Error(size, n, err, segs[0].Kind, segs[0].Size)
			}
		}
		dev.Close()
		first.Close()
	}
}

// TestForgottenOffload: a persistent interface whose last user left offload on is
// plain to the next.
func TestForgottenOffload(t *testing.T) {
	quiet(t)
	dev := mustOpen(t, Config{Name: "l3forgot", Persist: true, Addrs: prefixes("10.26.0.1/24")})
	mustOffload(t, dev)
	dev.dev.enabled.Store(0) // as if it had crashed
	dev.Close()
	conn := segmentSocket(t, addr("10.26.0.2:9"), 1000)
	// The polite way is Close, which a program that knows no offload relies on.
	for _, crash := range []bool{true, false} {
		polite := mustOpen(t, Config{Name: "l3forgot"})
		mustOffload(t, polite)
		if crash {
			polite.dev.enabled.Store(0)
		}
		polite.Close()
		old := attach(t, 0)
		ifr, _ := unix.NewIfreq("l3forgot")
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(int(old.Fd()), unix.TUNSETIFF, ifr); err != nil {
			t.Fatal(err)
		}
		conn.Write(make([]byte, 1900))
		n, err := unix.Read(int(old.Fd()), make([]byte, 4000))
		if err != nil || n != 1028 && !crash {
			t.Error("a program of others read", n, err)
		}
		old.Close()
	}
	for _, c := range []Config{{Name: "l3forgot", NoOffload: true}, {Name: "l3forgot"}} {
		again := mustOpen(t, c)
		if has := l3conn.Probe(again).Offloader != nil; has == c.NoOffload {
			t.Error("Offloader:", has)
		}
		conn.Write(make([]byte, 1900))
		again.SetReadDeadline(time.Now().Add(20 * time.Second))
		for _, size := range []int{1028, 928} {
			if n, err := again.Read(make([]byte, 2000)); n != size || err != nil {
				t.Error(n, err)
			}
		}
		again.Close()
	}
	last := mustOpen(t, Config{Name: "l3forgot"})
	raw, _ := last.SyscallConn()
	raw.Control(func(fd uintptr) { unix.IoctlSetInt(int(fd), unix.TUNSETPERSIST, 0) })
}
