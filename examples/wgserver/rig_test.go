package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"

	"l3extract/adapters/forward"
	"l3extract/adapters/outbound"
	"l3extract/l3conn/wgtun"
	"l3extract/stack"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// rig is a server in this process, on a port of the loopback, and a web server that
// stands behind an address outside.
type rig struct {
	*server
	log   lockedBuffer
	web   string       // address, as clients dial it
	sink  atomic.Value // net.Addr of what takes the datagrams that are sent there
	keys  []key        // private, of the peers
	end   context.CancelFunc
	ended chan error
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// address is that of peer i.
func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 66, 1, byte(i)}) }

func mustKey(t testing.TB) key {
	t.Helper()
	k, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newRig serves so many peers.
func newRig(t testing.TB, peers int) *rig {
	t.Helper()
	r := &rig{ended: make(chan error, 1), web: "192.0.2.80:80"}
	cfg := &config{private: mustKey(t), mtu: wgtun.DefaultMTU, addrs: []netip.Prefix{netip.MustParsePrefix("10.66.0.1/24")}}
	for i := range peers {
		private := mustKey(t)
		public, err := publicKey(private)
		if err != nil {
			t.Fatal(err)
		}
		r.keys = append(r.keys, private)
		cfg.peers = append(cfg.peers, peerConfig{public: public, allowed: []netip.Prefix{netip.PrefixFrom(address(i), 32)}})
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := bytes.Repeat([]byte("a page\n"), 2000)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })}
	go web.Serve(ln) // until the server is closed
	t.Cleanup(func() { web.Close() })
	if r.server, err = newServer(cfg, &options{drain: time.Second}, slog.New(slog.NewTextHandler(&r.log, nil))); err != nil {
		t.Fatal(err)
	}
	names := r.server.forward.Route
	r.server.forward.Route = func(ctx context.Context, f outbound.Flow) (forward.Target, error) {
		dst := f.Destination
		if sink, ok := r.sink.Load().(net.Addr); ok && f.Network == "udp" && dst.String() == r.web {
			return forward.Target{Addr: sink.(*net.UDPAddr).AddrPort(), Trusted: true}, nil
		}
		if dst.String() == r.web {
			return forward.Target{Addr: ln.Addr().(*net.TCPAddr).AddrPort(), Trusted: true}, nil
		}
		return names(ctx, f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.end = cancel
	go func() { r.ended <- r.serve(ctx) }() // awaited by stop
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop ends the server; again it does nothing.
func (r *rig) stop(t testing.TB) {
	t.Helper()
	r.end()
	select {
	case err, open := <-r.ended:
		if open {
			close(r.ended)
		}
		if err != nil {
			t.Errorf("the server ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("the server does not end")
	}
}

// client is a peer in this process.
type client struct {
	stack  *stack.Stack
	device *device.Device
	bind   *plainBind
	http   *http.Client
}

// newClient starts a client with this key and address, for a server with that key.
func (r *rig) newClient(t testing.TB, private, server key, addr netip.Addr) *client {
	t.Helper()
	c, stop, err := startClient(private, server, addr, r.port())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return c
}

// startClient starts a client of the server on this port.
func startClient(private, server key, addr netip.Addr, port uint16) (c *client, stop func(), err error) {
	end, tunnel := wgtun.Pair(&wgtun.Config{Batch: 16})
	c = &client{bind: new(plainBind)}
	if c.stack, err = stack.New(end, &stack.Config{Addrs: []netip.Prefix{netip.PrefixFrom(addr, 32)}}); err != nil {
		return nil, nil, err
	}
	var running sync.WaitGroup
	running.Go(func() { _ = c.stack.Run(context.Background()) }) // awaited by stop
	c.device = device.NewDevice(tunnel, c.bind, device.NewLogger(device.LogLevelSilent, ""))
	transport := &http.Transport{DialContext: c.stack.DialContext, DisableKeepAlives: true}
	c.http = &http.Client{Transport: transport, Timeout: patience}
	stop = func() {
		transport.CloseIdleConnections()
		_ = c.stack.Close()
		running.Wait()
		c.device.Close()
	}
	cfg := &config{private: private, peers: []peerConfig{{
		public: server, allowed: everything, endpoint: fmt.Sprintf("127.0.0.1:%d", port),
	}}}
	if err = c.device.IpcSet(cfg.device()); err == nil {
		err = c.device.Up()
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return c, stop, nil
}

// peer is the client whose key is that of peer i.
func (r *rig) peer(t testing.TB, i int) *client {
	t.Helper()
	server, err := publicKey(r.cfg.private)
	if err != nil {
		t.Fatal(err)
	}
	return r.newClient(t, r.keys[i], server, address(i))
}

// fetch gets the page and says how long that took.
func (c *client) fetch(address string) (time.Duration, error) {
	began := time.Now()
	response, err := c.http.Get("http://" + address + "/")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if err == nil && n != 14000 {
		err = fmt.Errorf("%d bytes", n)
	}
	return time.Since(began), err
}

// plainBind is a Bind on a socket of the loopback, one datagram per call, which can
// keep copies of what it sends.
type plainBind struct {
	mu   sync.Mutex
	conn *net.UDPConn
	keep bool
	sent [][]byte
}

func (b *plainBind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, 0, err
	}
	b.conn = c
	receive := func(bufs [][]byte, sizes []int, from []conn.Endpoint) (int, error) {
		n, addr, err := c.ReadFromUDPAddrPort(bufs[0])
		if err != nil {
			return 0, err
		}
		sizes[0], from[0] = n, &conn.StdNetEndpoint{AddrPort: addr}
		return 1, nil
	}
	return []conn.ReceiveFunc{receive}, c.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
}

func (b *plainBind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil {
		return nil
	}
	err := b.conn.Close()
	b.conn = nil
	return err
}

func (b *plainBind) Send(bufs [][]byte, to conn.Endpoint) error {
	b.mu.Lock()
	c := b.conn
	if b.keep {
		for _, p := range bufs {
			b.sent = append(b.sent, bytes.Clone(p))
		}
	}
	b.mu.Unlock()
	if c == nil {
		return net.ErrClosed
	}
	for _, p := range bufs {
		if _, err := c.WriteToUDPAddrPort(p, to.(*conn.StdNetEndpoint).AddrPort); err != nil {
			return err
		}
	}
	return nil
}

// kept is what was sent since keep was set.
func (b *plainBind) kept() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sent
}

func (b *plainBind) record() {
	b.mu.Lock()
	b.keep = true
	b.mu.Unlock()
}

func (b *plainBind) SetMark(uint32) error { return nil }
func (b *plainBind) BatchSize() int       { return 1 }
func (b *plainBind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	return &conn.StdNetEndpoint{AddrPort: a}, err
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("it does not come about: " + what)
		}
	}
}

// lines is how often the log has a line with all of these.
func (r *rig) lines(texts ...string) (n int) {
lines:
	for line := range strings.Lines(r.log.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		n++
	}
	return n
}

// TestRig: a page comes through.
func TestRig(t *testing.T) {
	r := newRig(t, 1)
	if _, err := r.peer(t, 0).fetch(r.web); err != nil {
		t.Error(err)
	}
	eventually(t, "a line about the handshake", func() bool { return r.lines("msg=handshake", "10.66.1.0/32", "from=127.0.0.1:") == 1 })
}
