package main

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"l3extract/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m) }

func TestDemo(t *testing.T) { exampletest.Want(t, run) }

func TestArguments(t *testing.T) { exampletest.Refuses(t, run, "unexpected argument", "more") }

// TestTUN sends from this host's own kernel: one socket, two servers.
func TestTUN(t *testing.T) {
	exampletest.OnTUN(t, run)
	for network, servers := range map[string][]string{
		"udp4": {"198.18.0.7:7", "198.18.0.200:3478"},
		"udp6": {"[fd6c:3378::7]:7", "[fd6c:3378::200]:3478"},
	} {
		c, err := net.ListenUDP(network, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, server := range servers {
			to := netip.MustParseAddrPort(server)
			if _, err := c.WriteToUDPAddrPort([]byte(server), to); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatal(err)
			}
			if from != to || string(buf[:n]) != server {
				t.Errorf("%v said %q, want %s", from, buf[:n], server)
			}
		}
	}
}
