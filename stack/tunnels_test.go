package stack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"l3extract/l3conn"
	"l3extract/l3conn/carrier"
	"l3extract/l3conn/datagram"
	"l3extract/l3conn/framed"
)

var tunnelMiB = flag.Int("tunnel.mib", 8, "MiB that TestTunnelBulk moves each way")

// tunnels are the conns that carry packets over something else.
var tunnels = []struct {
	name string
	make func() (x, y l3conn.Conn, err error)
}{
	{"framed/tcp", func() (x, y l3conn.Conn, err error) { return frames(tcpStreams, framed.Config{}) }},
	{"framed/tls", func() (x, y l3conn.Conn, err error) {
		return frames(tlsStreams, framed.Config{Format: framed.Little16})
	}},
	{"framed/large", func() (x, y l3conn.Conn, err error) {
		return frames(tcpStreams, framed.Config{Format: framed.Big32, MTU: framed.MaxMTU, Keepalive: time.Millisecond, PeerTimeout: -1})
	}},
	{"framed/unbuffered", func() (x, y l3conn.Conn, err error) {
		return frames(func() (a, b net.Conn, err error) { a, b = net.Pipe(); return a, b, nil }, framed.Config{})
	}},
	{"datagram/runs", func() (x, y l3conn.Conn, err error) { return datagrams(datagram.Config{MTU: 1400}) }},
	{"datagram/single", func() (x, y l3conn.Conn, err error) { return datagrams(datagram.Config{MTU: 1400, NoOffload: true}) }},
	{"carrier", func() (x, y l3conn.Conn, err error) {
		a, b, err := frames(tcpStreams, framed.Config{})
		if err != nil {
			return nil, nil, err
		}
		p, _ := carrier.New(nil) // nil is fine
		q, _ := carrier.New(nil)
		return p, q, errors.Join(p.Replace(a), q.Replace(b))
	}},
}

func tcpStreams() (a, b net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	b, err = l.Accept()
	return a, b, err
}

func tlsStreams() (a, b net.Conn, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"peer"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	x, y, err := tcpStreams()
	if err != nil {
		return nil, nil, err
	}
	client := tls.Client(x, &tls.Config{RootCAs: pool, ServerName: "peer"})
	server := tls.Server(y, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }() // awaited below
	err = client.Handshake()
	return client, server, errors.Join(err, <-done)
}

func frames(streams func() (a, b net.Conn, err error), cfg framed.Config) (x, y l3conn.Conn, err error) {
	a, b, err := streams()
	if err != nil {
		return nil, nil, err
	}
	p, err := framed.New(a, &cfg)
	if err != nil {
		return nil, nil, err
	}
	q, err := framed.New(b, &cfg)
	return p, q, err
}

func datagrams(cfg datagram.Config) (x, y l3conn.Conn, err error) {
	a, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	b, err := net.DialUDP("udp", nil, a.LocalAddr().(*net.UDPAddr))
	if err != nil {
		return nil, nil, err
	}
	server := cfg
	server.Peer = b.LocalAddr()
	p, err := datagram.New(a, &server)
	if err != nil {
		return nil, nil, err
	}
	q, err := datagram.NewConnected(b, &cfg)
	return p, q, err
}

// closeTunnel closes both ends.
func closeTunnel(x, y l3conn.Conn) error {
	return errors.Join(x.(io.Closer).Close(), y.(io.Closer).Close())
}

// TestTunnelConn holds Streams through every tunnel against the contract of net.Conn.
func TestTunnelConn(t *testing.T) {
	for _, tunnel := range tunnels {
		t.Run(tunnel.name, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
				x, y, err := tunnel.make()
				if err != nil {
					return nil, nil, nil, err
				}
				a, b, end, err := pipeMaker(false, func() (l3conn.Conn, l3conn.Conn) { return x, y }, 0)()
				if err != nil {
					return nil, nil, nil, err
				}
				return a, b, func() {
					end()
					_ = closeTunnel(x, y) // TLS complains that its peer is gone
				}, nil
			})
		})
	}
}

// TestTunnelBulk moves bulk both ways at once through every tunnel, byte for byte:
// -tunnel.mib 256 for a long one.
func TestTunnelBulk(t *testing.T) {
	for _, tunnel := range tunnels {
		t.Run(tunnel.name, func(t *testing.T) {
			x, y, err := tunnel.make()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = closeTunnel(x, y) }) // after the Stacks; TLS complains that its peer is gone
			c, s := pairOn(t, x, y, Config{}, Config{})
			a, b, err := connect(c, s)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			bothWays(t, a, b, *tunnelMiB<<20)
			t.Logf("%d MiB each way in %v", *tunnelMiB, time.Since(start).Round(time.Millisecond))
			for _, st := range []Stats{c.Stats(), s.Stats()} {
				for cause, n := range st.Drops {
					t.Logf("%d dropped: %s", n, cause)
				}
			}
		})
	}
}
