package wgtun

import (
	"fmt"
	"testing"

	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"l3extract/l3conn"
	"l3extract/l3conn/l3conntest"
)

// TestContract holds all ways in and out against the contract of l3conn, with
// batches and without: a Pair whose device is looked at through FromTUN, and every
// kind of conn with a device of ToTUN on it.
func TestContract(t *testing.T) {
	for _, batch := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("pair/batch=%d", batch), func(t *testing.T) {
			l3conntest.Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
				end, dev := Pair(&Config{Batch: batch})
				conn := fromTUN(t, dev)
				return end, conn, func() { end.Close(); conn.Close() }
			})
		})
	}
	for _, c := range []struct {
		name string
		make func() (x, y l3conn.Conn)
	}{
		{"plain", func() (x, y l3conn.Conn) { return l3conn.Pipe(0, 0) }},
		{"batches", func() (x, y l3conn.Conn) { return l3conn.BatchPipe(0, 0, 5) }},
		{"segments", func() (x, y l3conn.Conn) { return l3conn.SegmentPipe(nil) }},
		{"direct", func() (x, y l3conn.Conn) { return l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{Direct: true}) }},
		{"large", func() (x, y l3conn.Conn) { return l3conn.SegmentPipe(&l3conn.SegmentPipeConfig{MTU: 65535}) }},
	} {
		for _, batch := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s/batch=%d", c.name, batch), func(t *testing.T) {
				l3conntest.Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
					x, y := c.make()
					dev, err := ToTUN(y, &Config{Batch: batch})
					if err != nil {
						t.Fatal(err)
					}
					conn := fromTUN(t, dev)
					return x, conn, func() { l3conn.Probe(x).Closer.Close(); conn.Close() }
				})
			})
		}
	}
}

func fromTUN(t *testing.T, dev tun.Device) *Conn {
	t.Helper()
	c, err := FromTUN(dev)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestForeignDevice: a device that is not ours, one packet per call.
func TestForeignDevice(t *testing.T) {
	dev := tuntest.NewChannelTUN()
	c := fromTUN(t, dev.TUN())
	defer c.Close()
	if c.MTU() != 1420 || c.BatchSize() != 1 {
		t.Errorf("MTU %d, batch %d", c.MTU(), c.BatchSize())
	}
	go func() { dev.Outbound <- []byte("to us") }() // ends when it was read
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "to us" {
		t.Errorf("%q, %v", b[:n], err)
	}
	got := make(chan []byte, 1)
	go func() { got <- <-dev.Inbound }() // ends with the packet
	if n, err := c.Write([]byte("from us")); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if p := <-got; string(p) != "from us" {
		t.Errorf("%q", p)
	}
}
