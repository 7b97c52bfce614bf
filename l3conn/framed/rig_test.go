package framed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"os"
	"testing"
	"time"

	"l3extract/l3conn"
)

// streams are the kinds of streams, each connected to itself.
var streams = []struct {
	name string
	open func(t testing.TB) (a, b io.ReadWriteCloser)
}{
	{"pipe", func(t testing.TB) (a, b io.ReadWriteCloser) { return net.Pipe() }},
	{"tcp", func(t testing.TB) (a, b io.ReadWriteCloser) { return tcpPair(t) }},
	{"tls", func(t testing.TB) (a, b io.ReadWriteCloser) { return tlsPair(t) }},
	{"files", filePair},
	{"bare", func(t testing.TB) (a, b io.ReadWriteCloser) {
		x, y := tcpPair(t)
		return bare{x}, bare{y}
	}},
	{"crumbs", func(t testing.TB) (a, b io.ReadWriteCloser) { // which cut every frame
		x, y := tcpPair(t)
		return crumbs{x}, crumbs{y}
	}},
}

// bare hides deadlines.
type bare struct{ io.ReadWriteCloser }

// crumbs reads a few bytes at a time.
type crumbs struct{ net.Conn }

func (c crumbs) Read(b []byte) (int, error) { return c.Conn.Read(b[:min(len(b), 37)]) }

func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func tlsPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"peer"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	leaf, _ := x509.ParseCertificate(der)
	pool.AddCert(leaf)
	x, y := tcpPair(t)
	client := tls.Client(x, &tls.Config{RootCAs: pool, ServerName: "peer"})
	server := tls.Server(y, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }() // awaited below
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client, server
}

// filePair is two pipes of the system, as between a process and its child.
func filePair(t testing.TB) (a, b io.ReadWriteCloser) {
	t.Helper()
	r1, w1, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r2, w2, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return Join(r1, w2), Join(r2, w1)
}

func mustNew(t testing.TB, stream io.ReadWriteCloser, c Config) *Conn {
	t.Helper()
	conn, err := New(stream, &c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// plain hides all but Read, Write and what a conn needs to be stopped.
type plain struct{ *Conn }

func (p plain) Caps() l3conn.Caps {
	caps := p.Conn.Caps()
	caps.BatchReader, caps.BatchWriter, caps.Offloader = nil, nil, nil
	return caps
}

// packet is n bytes that begin like an IPv4 header and depend on seed.
func packet(seed, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(seed*131 + i*7 + i>>8)
	}
	if n > 0 {
		p[0] = 0x45
	}
	return p
}
