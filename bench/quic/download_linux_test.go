package quic

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"l3extract/adapters/forward"
	"l3extract/l3conn/tun"
	"l3extract/stack"
)

var size = flag.Int64("quic.mib", 64, "how many MiB to download")

// room is a network namespace with a thread in it.
type room struct {
	fd   int
	jobs chan func()
}

func newRoom(t *testing.T, loopback string) *room {
	t.Helper()
	r := &room{fd: -1, jobs: make(chan func())}
	made, ended := make(chan error), make(chan struct{})
	go func() { // ends with jobs, and its thread with it
		defer close(ended)
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			r.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		var lo netlink.Link
		if err == nil {
			lo, err = netlink.LinkByName("lo")
		}
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err == nil && loopback != "" {
			var a *netlink.Addr
			if a, err = netlink.ParseAddr(loopback); err == nil {
				err = netlink.AddrAdd(lo, a)
			}
		}
		made <- err
		for job := range r.jobs {
			job()
		}
	}()
	err := <-made
	t.Cleanup(func() {
		close(r.jobs)
		<-ended
		_ = unix.Close(r.fd)
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ListenPacket opens a socket that stays in the namespace.
func (r *room) ListenPacket(ctx context.Context, network, address string) (pc net.PacketConn, err error) {
	done := make(chan struct{})
	r.jobs <- func() {
		defer close(done)
		var lc net.ListenConfig
		pc, err = lc.ListenPacket(ctx, network, address)
	}
	<-done
	return pc, err
}

func (r *room) udp(t *testing.T, address string) net.PacketConn {
	t.Helper()
	pc, err := r.ListenPacket(t.Context(), "udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return pc
}

// certificate returns a server's and the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"far.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// content writes n bytes that no two places share, and returns their sum.
func content(w io.Writer, n int64) (string, error) {
	h := sha256.New()
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = byte(i*i + i>>7)
	}
	for at := int64(0); at < n; at += int64(len(block)) {
		copy(block, fmt.Sprintf("%016d", at))
		b := block[:min(int64(len(block)), n-at)]
		_, _ = h.Write(b) // never fails
		if _, err := w.Write(b); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// TestDownload: a QUIC client in a namespace whose only way out is a TUN gets every
// byte of a server in another.
func TestDownload(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	host, behind := newRoom(t, "192.0.2.7/32"), newRoom(t, "")
	dev, err := tun.Open(&tun.Config{
		Name: "l3quic", NetNS: fmt.Sprintf("/proc/self/fd/%d", behind.fd),
		Addrs:  []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24")},
		Routes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	})
	if err != nil {
		t.Skip("no TUN here:", err)
	}
	defer dev.Close()
	s, err := stack.New(dev, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := &forward.Server{PacketListener: host}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { _ = s.Run(ctx) })        // ends with ctx
	all.Go(func() { _ = srv.Serve(ctx, s) }) // and this

	cert, pool := certificate(t)
	protocols := []string{"download"}
	// The default windows are for the Internet; a megabyte more keeps the test short.
	cfg := &quic.Config{InitialStreamReceiveWindow: 4 << 20, MaxStreamReceiveWindow: 16 << 20, MaxConnectionReceiveWindow: 24 << 20}
	far := &quic.Transport{Conn: host.udp(t, "192.0.2.7:443")}
	defer far.Close()
	listener, err := far.Listen(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protocols}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	n := *size << 20
	sent := make(chan string, 1)
	all.Go(func() { // ends with ctx or the download
		defer close(sent)
		conn, err := listener.Accept(ctx)
		if err != nil {
			t.Error("accept:", err)
			return
		}
		stream, err := conn.OpenUniStreamSync(ctx)
		if err != nil {
			t.Error("open a stream:", err)
			return
		}
		sum, err := content(stream, n)
		if err == nil {
			err = stream.Close()
		}
		if err != nil {
			t.Error("send:", err)
		}
		sent <- sum
		<-conn.Context().Done()
	})

	near := &quic.Transport{Conn: behind.udp(t, ":0")}
	defer near.Close()
	conn, err := near.Dial(ctx, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:443")),
		&tls.Config{RootCAs: pool, ServerName: "far.example", NextProtos: protocols}, cfg)
	if err != nil {
		t.Fatal("dial:", err)
	}
	defer conn.CloseWithError(0, "done")
	began := time.Now()
	stream, err := conn.AcceptUniStream(ctx)
	if err != nil {
		t.Fatal("accept a stream:", err)
	}
	h := sha256.New()
	got, err := io.Copy(h, stream)
	if err != nil || got != n {
		t.Fatalf("%d of %d bytes, %v; %+v", got, n, err, srv.Stats())
	}
	took := time.Since(began)
	if sum := hex.EncodeToString(h.Sum(nil)); sum != <-sent {
		t.Errorf("other bytes arrived: %s", sum)
	}
	st := srv.Stats()
	t.Logf("%d MiB in %v: %.0f Mbit/s; %d datagrams out, %d in, %d lost here; %v",
		n>>20, took.Round(time.Millisecond), float64(n)*8/1e6/took.Seconds(), st.DatagramsOut, st.DatagramsIn, st.DatagramsLost, s.Stats().Drops)
}
