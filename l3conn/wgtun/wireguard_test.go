package wgtun

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/curve25519"
	"golang.org/x/net/nettest"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"l3extract/l3conn"
	"l3extract/stack"
)

var bulk = flag.Int64("wgtun.mib", 16, "MiB that TestBulk moves each way")

// node is a Stack behind a wireguard-go device.
type node struct {
	stack   *stack.Stack
	device  *device.Device
	addrs   []netip.Prefix
	private [32]byte
	public  []byte
}

// kinds are the ways to put a Stack on a device.
var kinds = []struct {
	name string
	make func(t *testing.T) (l3conn.Conn, tun.Device)
}{
	{"pair", func(*testing.T) (l3conn.Conn, tun.Device) { return Pair(nil) }},
	{"single", func(*testing.T) (l3conn.Conn, tun.Device) { return Pair(&Config{Batch: 1}) }},
	{"conn", func(t *testing.T) (l3conn.Conn, tun.Device) {
		x, y := l3conn.Pipe(0, DefaultMTU)
		dev, err := ToTUN(y, nil)
		if err != nil {
			t.Fatal(err)
		}
		return x, dev
	}},
}

// newNode starts a node whose number is in its addresses.
func newNode(t *testing.T, number byte, conn l3conn.Conn, dev tun.Device, bind conn.Bind) *node {
	t.Helper()
	n := &node{addrs: []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, number}), 24),
		netip.MustParsePrefix(fmt.Sprintf("fd09::%x/64", number)),
	}}
	_, _ = rand.Read(n.private[:])
	n.private[0] &^= 7
	n.private[31] = n.private[31]&127 | 64
	var err error
	if n.public, err = curve25519.X25519(n.private[:], curve25519.Basepoint); err != nil {
		t.Fatal(err)
	}
	if n.stack, err = stack.New(conn, &stack.Config{Addrs: n.addrs}); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { // the Stack; awaited when the test ends
		if err := n.stack.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	n.device = device.NewDevice(dev, bind, device.NewLogger(device.LogLevelError, t.Name()+": "))
	t.Cleanup(func() {
		_ = n.stack.Close()
		running.Wait()
		n.device.Close()
	})
	n.set(t, "private_key=%x\nlisten_port=0\n", n.private)
	if err := n.device.Up(); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) set(t *testing.T, format string, args ...any) {
	t.Helper()
	if err := n.device.IpcSet(fmt.Sprintf(format, args...)); err != nil {
		t.Fatal(err)
	}
}

// meet makes other a peer of n.
func (n *node) meet(t *testing.T, other *node) {
	t.Helper()
	state, err := other.device.IpcGet()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(state, "listen_port=")
	port, _, _ := strings.Cut(rest, "\n")
	n.set(t, "public_key=%x\nendpoint=127.0.0.1:%s\n", other.public, port)
	for _, a := range other.addrs {
		n.set(t, "public_key=%x\nupdate_only=true\nallowed_ip=%v/%d\n", other.public, a.Addr(), a.Addr().BitLen())
	}
}

// twoNodes returns two nodes that are each other's peers, over UDP on the loopback.
func twoNodes(t *testing.T, make func(t *testing.T) (l3conn.Conn, tun.Device)) (x, y *node) {
	t.Helper()
	c, dev := make(t)
	x = newNode(t, 1, c, dev, conn.NewDefaultBind())
	c, dev = make(t)
	y = newNode(t, 2, c, dev, conn.NewDefaultBind())
	x.meet(t, y)
	y.meet(t, x)
	return x, y
}

// connect returns the ends of a connection from x to y.
func connect(x, y *node, v6 int) (c1, c2 net.Conn, err error) {
	ln, err := y.stack.Listen(context.Background(), "tcp", netip.AddrPortFrom(y.addrs[v6].Addr(), 0).String())
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	c1, err = x.stack.DialContext(context.Background(), "tcp", ln.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	c2, err = ln.Accept()
	return c1, c2, err
}

// TestConn: a connection through two Stacks and two devices is a net.Conn as any
// other.
func TestConn(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			x, y := twoNodes(t, kind.make)
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				c1, c2, err = connect(x, y, 0)
				return c1, c2, func() {
					c1.Close()
					c2.Close()
				}, err
			})
		})
	}
}

// TestBulk: every byte arrives, both ways at once, over IPv4 and IPv6.
func TestBulk(t *testing.T) {
	for _, kind := range kinds {
		for v6, family := range []string{"v4", "v6"} {
			t.Run(kind.name+"/"+family, func(t *testing.T) {
				x, y := twoNodes(t, kind.make)
				c1, c2, err := connect(x, y, v6)
				if err != nil {
					t.Fatal(err)
				}
				defer c1.Close()
				defer c2.Close()
				var all sync.WaitGroup
				for _, way := range [][2]net.Conn{{c1, c2}, {c2, c1}} {
					var sent, got [sha256.Size]byte
					var both sync.WaitGroup
					both.Go(func() { sent = pump(t, way[0], *bulk<<20) }) // awaited below
					both.Go(func() { got = drain(t, way[1]) })            // awaited below
					all.Go(func() {                                       // awaited below
						both.Wait()
						if sent != got {
							t.Errorf("SHA-256 %x sent, %x received", sent, got)
						}
					})
				}
				all.Wait()
				if d := x.stack.Stats().Drops; d["conn_no_buffers"]+d["conn_short_buffer"] > 0 {
					t.Errorf("drops: %v", d)
				}
			})
		}
	}
}

// pump writes n bytes that no two calls share, ends the direction, and returns
// their sum.
func pump(t *testing.T, c net.Conn, n int64) [sha256.Size]byte {
	var seed [16]byte
	_, _ = rand.Read(seed[:])
	sum := sha256.New()
	block := bytes.Repeat([]byte(hex.EncodeToString(seed[:])), 2048)
	for at := int64(0); at < n; at += int64(len(block)) {
		copy(block[at%30000:], fmt.Sprint(at))
		sum.Write(block)
		if _, err := c.Write(block); err != nil {
			t.Error(err)
			break
		}
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// drain returns the sum of all that comes.
func drain(t *testing.T, c net.Conn) [sha256.Size]byte {
	sum := sha256.New()
	if _, err := io.Copy(sum, c); err != nil {
		t.Error(err)
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// TestManyPeers: one Stack is the end of many tunnels, and each peer's own address is
// what it sees.
func TestManyPeers(t *testing.T) {
	const peers = 20
	end, dev := Pair(nil)
	server := newNode(t, 1, end, dev, conn.NewDefaultBind())
	ln, err := server.stack.Listen(t.Context(), "tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() { // ends with the listener; awaited below
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	})
	var clients sync.WaitGroup
	for i := range peers {
		end, dev := Pair(&Config{Batch: 8})
		client := newNode(t, byte(10+i), end, dev, conn.NewDefaultBind())
		server.meet(t, client)
		client.meet(t, server)
		clients.Go(func() { // awaited below
			c, err := client.stack.DialContext(t.Context(), "tcp", "10.9.0.1:7")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if said, err := io.ReadAll(c); string(said) != client.addrs[0].Addr().String() || err != nil {
				t.Errorf("%v is seen as %q, %v", client.addrs[0], said, err)
			}
		})
	}
	clients.Wait()
	ln.Close()
	all.Wait()
}

// TestEnds: who is closed ends the other, whatever comes first, and nothing blocks.
func TestEnds(t *testing.T) {
	t.Run("device first", func(t *testing.T) {
		end, dev := Pair(nil)
		s, err := stack.New(end, nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(context.Background()) }() // awaited below
		wg := device.NewDevice(dev, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
		wg.Close()
		if err := <-done; !errors.Is(err, io.EOF) {
			t.Errorf("Run: %v, want io.EOF", err)
		}
	})
	t.Run("conn first", func(t *testing.T) {
		end, dev := Pair(nil)
		wg := device.NewDevice(dev, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
		end.Close()
		<-wg.Wait()
		if _, err := dev.Write([][]byte{make([]byte, 40)}, 0); !errors.Is(err, errClosed) {
			t.Errorf("Write: %v", err)
		}
		if err := errors.Join(end.Close(), dev.Close(), dev.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Run("a blocked write", func(t *testing.T) {
		end, dev := Pair(nil)
		failed := make(chan error, 1)
		go func() { // ends with the device; awaited below
			for {
				if _, err := dev.Write([][]byte{make([]byte, 40)}, 16); err != nil {
					failed <- err
					return
				}
			}
		}()
		dev.Close()
		if err := <-failed; !errors.Is(err, errClosed) {
			t.Errorf("Write: %v", err)
		}
		end.Close()
	})
}

// TestMTU: a change of the conn's is told to the device's owner and, by FromTUN, to
// the owner of a conn.
func TestMTU(t *testing.T) {
	x, y := l3conn.Pipe(0, 9000)
	low := &changing{PipeEnd: y}
	low.mtu.Store(1500)
	dev, err := ToTUN(low, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e := <-dev.Events(); e != tun.EventUp {
		t.Errorf("the first event is %d", e)
	}
	low.mtu.Store(1280)
	_, _ = x.Write(make([]byte, 20))
	if n, err := dev.Read([][]byte{make([]byte, 100)}, make([]int, 1), 0); n != 1 || err != nil {
		t.Error(n, err)
	}
	if e := <-dev.Events(); e != tun.EventMTUUpdate {
		t.Errorf("event %d", e)
	}
	if n, _ := dev.MTU(); n != 1280 {
		t.Errorf("MTU %d", n)
	}
	dev.Close()
	if _, open := <-dev.Events(); open {
		t.Error("events after Close")
	}
}
