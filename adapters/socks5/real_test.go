package socks5

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/internal/realproxy"
	"l3extract/adapters/outbound"
)

// servers are the proxies that people run, and what is known of them.
var servers = []struct {
	name     string
	start    func(t testing.TB) (address string)
	user     string
	pipeline bool   // takes a handshake in one piece, and what follows it
	udp      bool   // does UDP ASSOCIATE
	forbids  string // an address, if there are rules
}{
	{name: "microsocks", start: func(t testing.TB) string { return realproxy.Microsocks(t, "", "") }},
	{name: "microsocks with password", user: "anna", start: func(t testing.TB) string { return realproxy.Microsocks(t, "anna", "s3cret") }},
	{name: "dante", pipeline: true, udp: true, forbids: "127.0.0.66:80", start: func(t testing.TB) string { return realproxy.Dante(t, false) }},
	{name: "dante with password", user: realproxy.User, pipeline: true, udp: true, forbids: "127.0.0.66:80",
		start: func(t testing.TB) string { return realproxy.Dante(t, true) }},
	{name: "ssh -D", pipeline: true, forbids: "127.0.0.66:80", start: realproxy.SSHDynamic},
}

// TestRealServers: everything that each of them does.
func TestRealServers(t *testing.T) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			d := &Dialer{Address: s.start(t), Username: s.user}
			if s.user != "" {
				d.Password = "s3cret"
			}
			t.Run("connect", func(t *testing.T) { realConnect(t, d) })
			t.Run("refused", func(t *testing.T) {
				_, err := d.DialContext(soon(t), "tcp", realproxy.Closed(t))
				if !errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, outbound.ErrProxy) {
					t.Errorf("%v, want ECONNREFUSED", err)
				}
			})
			t.Run("forbidden", func(t *testing.T) {
				if s.forbids == "" {
					return
				}
				_, err := d.DialContext(soon(t), "tcp", s.forbids)
				if !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.ECONNREFUSED) { // OpenSSH does not say
					t.Errorf("%v, want EACCES", err)
				}
			})
			t.Run("wrong password", func(t *testing.T) {
				if s.user == "" {
					return
				}
				wrong := &Dialer{Address: d.Address, Username: s.user, Password: "hushhush"}
				_, err := wrong.DialContext(soon(t), "tcp", "127.0.0.1:9")
				if !errors.Is(err, syscall.EACCES) || !errors.Is(err, outbound.ErrProxy) || strings.Contains(err.Error(), "hushhush") {
					t.Errorf("%v, want EACCES and ErrProxy", err)
				}
				none := &Dialer{Address: d.Address}
				if _, err := none.DialContext(soon(t), "tcp", "127.0.0.1:9"); !errors.Is(err, syscall.EACCES) {
					t.Errorf("%v, want EACCES", err)
				}
			})
			t.Run("pipeline", func(t *testing.T) {
				fast := &Dialer{Address: d.Address, Username: d.Username, Password: d.Password, Pipeline: true}
				if s.pipeline {
					realConnect(t, fast)
					realEarly(t, fast)
					return
				}
				// What the documentation says of it, so that it does not grow old.
				fast.Timeout = 300 * time.Millisecond
				if c, err := fast.DialContext(t.Context(), "tcp", realproxy.Echo(t, "127.0.0.1:0")); err == nil {
					_ = c.Close()
					t.Error("it takes a handshake in one piece now")
				}
			})
			t.Run("pool", func(t *testing.T) {
				pooled := &Dialer{Address: d.Address, Username: d.Username, Password: d.Password, Pool: 4}
				defer pooled.Close()
				realConnect(t, pooled)
				until(t, "an idle connection", func() bool { return pooled.Stats().PoolIdle > 0 })
				realConnect(t, pooled)
				if pooled.Stats().PoolHits == 0 {
					t.Errorf("%+v", pooled.Stats())
				}
			})
			t.Run("udp", func(t *testing.T) {
				if s.udp {
					realUDP(t, d)
					return
				}
				_, err := d.ListenPacket(soon(t), "udp4", ":0")
				if !errors.Is(err, outbound.ErrProxy) || !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("%v, want ErrProxy and ErrUnsupported", err)
				}
			})
		})
	}
}

func realConnect(t *testing.T, d *Dialer) {
	v4, v6 := realproxy.Echo(t, "127.0.0.1:0"), realproxy.Echo(t, "[::1]:0")
	_, port, _ := net.SplitHostPort(v4)
	var wg sync.WaitGroup
	for _, address := range []string{v4, v6, "localhost:" + port} {
		for range 4 {
			wg.Go(func() {
				c, err := d.DialContext(soon(t), "tcp", address)
				if err != nil {
					t.Errorf("%s: %v", address, err)
					return
				}
				defer c.Close()
				wantEcho(t, c)
			})
		}
	}
	wg.Wait()
}

// realEarly is a connection whose first bytes come before the proxy has answered.
func realEarly(t *testing.T, d *Dialer) {
	echo := realproxy.Echo(t, "127.0.0.1:0")
	for range 20 {
		c, err := d.DialEarly(soon(t), "tcp", echo)
		if err != nil {
			t.Fatal(err)
		}
		wantEcho(t, c)
		_ = c.Close()
	}
}

func realUDP(t *testing.T, d *Dialer) {
	pc, err := d.ListenPacket(soon(t), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	one, other := netip.MustParseAddrPort(realproxy.EchoUDP(t, "127.0.0.1:0")), netip.MustParseAddrPort(realproxy.EchoUDP(t, "127.0.0.1:0"))
	_ = pc.SetDeadline(time.Now().Add(patience))
	for _, to := range []net.Addr{net.UDPAddrFromAddrPort(one), net.UDPAddrFromAddrPort(other), outbound.Name{Host: "localhost", Port: one.Port()}} {
		if _, err := pc.WriteTo([]byte(to.String()), to); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1<<16)
		n, from, err := pc.ReadFrom(b)
		if err != nil || string(b[:n]) != to.String() {
			t.Fatalf("%v: %q, %v", to, b[:n], err)
		}
		if _, name := to.(outbound.Name); !name && from.String() != to.String() {
			t.Errorf("%v answers as %v", to, from)
		}
	}
}
