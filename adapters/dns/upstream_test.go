package dns

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"l3extract/adapters/direct"
	"l3extract/adapters/outbound"
)

// resolver is a server on the loopback, over one of the transports.
type resolver struct {
	url     string
	options Options
	opened  atomic.Int64 // connections it took
	stop    func()       // ends it with its connections
}

type handler func(w dns.ResponseWriter, q *dns.Msg)

// www answers any question for an address with 192.0.2.1.
func www(w dns.ResponseWriter, q *dns.Msg) {
	_ = w.WriteMsg(inZone(q, []string{dns.CanonicalName(q.Question[0].Name) + " 60 IN A 192.0.2.1"}))
}

// counted counts the connections of a listener and closes them all.
type counted struct {
	net.Listener
	r  *resolver
	mu sync.Mutex
	cs []net.Conn
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.r.opened.Add(1)
		l.mu.Lock()
		l.cs = append(l.cs, c)
		l.mu.Unlock()
	}
	return c, err
}

func (l *counted) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.cs {
		c.Close()
	}
}

// certificate is one for example.com and 127.0.0.1, and a pool that trusts it.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s.TLS.Certificates[0], pool
}

// start runs a resolver of a scheme at address, or anywhere on the loopback.
func start(t testing.TB, scheme, address string, h handler) *resolver {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	r := new(resolver)
	if scheme == "udp" {
		pc, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(h)}
		r.url, r.stop = "udp://"+pc.LocalAddr().String(), func() { pc.Close() }
		serve(t, s, r)
		return r
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	l := &counted{Listener: ln, r: r}
	r.url = scheme + "://" + ln.Addr().String()
	r.stop = func() { ln.Close(); l.hangUp() }
	cert, pool := certificate(t)
	r.options.TLS = &tls.Config{RootCAs: pool}
	switch scheme {
	case "tcp":
		serve(t, &dns.Server{Listener: l, Handler: dns.HandlerFunc(h), MaxTCPQueries: -1}, r)
	case "tls":
		serve(t, &dns.Server{Listener: tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}), Handler: dns.HandlerFunc(h), MaxTCPQueries: -1}, r)
	case "https":
		s := &httptest.Server{Listener: l, EnableHTTP2: true, TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
			Config: &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { serveHTTPS(rw, req, h) })}}
		s.StartTLS()
		r.url += "/dns-query"
		t.Cleanup(func() { r.stop(); s.Close() })
	}
	return r
}

func serve(t testing.TB, s *dns.Server, r *resolver) {
	done := make(chan error)
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go func() { done <- s.ActivateAndServe() }() // awaited by the cleanup
	<-started
	t.Cleanup(func() {
		r.stop()
		_ = s.Shutdown()
		<-done
	})
}

// httpsWriter is a dns.ResponseWriter over HTTP.
type httpsWriter struct {
	dns.ResponseWriter
	http http.ResponseWriter
}

func (w httpsWriter) Write(b []byte) (int, error) { return w.http.Write(b) }

func (w httpsWriter) WriteMsg(m *dns.Msg) error {
	b, err := m.Pack()
	if err != nil {
		return err
	}
	w.http.Header().Set("Content-Type", mediaType)
	_, err = w.http.Write(b)
	return err
}

func serveHTTPS(rw http.ResponseWriter, req *http.Request, h handler) {
	b, _ := io.ReadAll(req.Body)
	var q dns.Msg
	if err := q.Unpack(b); err != nil || q.Id != 0 || req.Method != http.MethodPost || req.URL.Path != "/dns-query" || req.UserAgent() != "" {
		http.Error(rw, "not a query", http.StatusBadRequest)
		return
	}
	h(httpsWriter{nil, rw}, &q)
}

func (r *resolver) upstream(t testing.TB) Upstream {
	t.Helper()
	u, err := ParseUpstream(r.url, &r.options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := u.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return u
}

// exchange asks u for the address of name.
func exchange(t testing.TB, u Upstream, name string) (*dns.Msg, error) {
	return exchangeIn(t, t.Context(), u, name)
}

func exchangeIn(t testing.TB, ctx context.Context, u Upstream, name string) (*dns.Msg, error) {
	q, err := upstreamQuery(key{name: dns.CanonicalName(name), qtype: dns.TypeA})
	if err != nil {
		t.Fatal(err)
	}
	b, err := u.Exchange(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := responds(b, q); err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	return m, m.Unpack(b)
}

func mustExchange(t testing.TB, u Upstream, name string) {
	t.Helper()
	m, err := exchange(t, u, name)
	if err != nil {
		t.Error(err)
	} else if len(m.Answer) != 1 {
		t.Errorf("got\n%v", m)
	}
}

var schemes = []string{"udp", "tcp", "tls", "https"}

func TestUpstreams(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			r := start(t, scheme, "", www)
			u := r.upstream(t)
			var g sync.WaitGroup
			for i := range 400 {
				g.Go(func() { mustExchange(t, u, fmt.Sprintf("h%d.example", i)) })
			}
			g.Wait()
			most := int64(maxPipelines)
			if scheme == "https" { // whose transport lets go of some at the beginning
				most = 50
			}
			if n := r.opened.Load(); n > most {
				t.Errorf("%d connections", n)
			}
			st := u.(accountant).account()[0]
			if st.Name != r.url || st.Exchanges != 400 || st.Failed != 0 {
				t.Errorf("%+v", st)
			}
			if scheme != "https" && st.Opened+st.Reused != 400 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// associations counts the sockets that are open.
type associations struct {
	direct.Dialer
	open, peak atomic.Int64
}

func (a *associations) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	n := a.open.Add(1)
	for was := a.peak.Load(); n > was && !a.peak.CompareAndSwap(was, n); was = a.peak.Load() {
	}
	pc, err := a.Dialer.ListenPacket(ctx, network, address)
	return association{pc, a}, err
}

type association struct {
	net.PacketConn
	of *associations
}

func (a association) Close() error { a.of.open.Add(-1); return a.PacketConn.Close() }

// TestAssociationsAreBounded: over a proxy a burst waits for those that are open.
func TestAssociationsAreBounded(t *testing.T) {
	r := start(t, "udp", "", www)
	a := new(associations)
	r.options.Dialer = a
	u := r.upstream(t)
	var g sync.WaitGroup
	for i := range 300 {
		g.Go(func() { mustExchange(t, u, fmt.Sprintf("h%d.example", i)) })
	}
	g.Wait()
	if n := a.peak.Load(); n > maxAssociations+maxIdleSockets {
		t.Errorf("%d at once", n)
	}
	if err := u.Close(); err != nil || a.open.Load() != 0 {
		t.Errorf("%v, %d left open", err, a.open.Load())
	}
}

// tcpOnly is a proxy that says no when it is asked for UDP.
type tcpOnly struct {
	direct.Dialer
	asked atomic.Int64
}

func (p *tcpOnly) ListenPacket(context.Context, string, string) (net.PacketConn, error) {
	p.asked.Add(1)
	return nil, &net.OpError{Op: "listen", Net: "udp", Err: errors.ErrUnsupported}
}

// TestProxyWithoutUDP: questions go over TCP, and the proxy is not asked each time.
func TestProxyWithoutUDP(t *testing.T) {
	r := start(t, "tcp", "", www)
	p := new(tcpOnly)
	r.url, r.options.Dialer = "udp"+strings.TrimPrefix(r.url, "tcp"), p
	u := r.upstream(t)
	for range 5 {
		mustExchange(t, u, "www.example")
	}
	if p.asked.Load() != 1 || r.opened.Load() != 1 {
		t.Errorf("asked %d times, %d connections", p.asked.Load(), r.opened.Load())
	}
}

// TestOneConnection: questions one after the other share what is open.
func TestOneConnection(t *testing.T) {
	for _, scheme := range schemes[1:] {
		t.Run(scheme, func(t *testing.T) {
			r := start(t, scheme, "", www)
			u := r.upstream(t)
			for range 20 {
				mustExchange(t, u, "www.example")
			}
			if n := r.opened.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
	r := start(t, "udp", "", www)
	u := r.upstream(t)
	for range socketExchanges + 1 {
		mustExchange(t, u, "www.example")
	}
	if st := u.(accountant).account()[0]; st.Opened != 2 {
		t.Errorf("%+v", st)
	}
}

// TestServerRestarts: what was open is closed, and the next question is answered all the same.
func TestServerRestarts(t *testing.T) {
	for _, scheme := range schemes[1:] {
		t.Run(scheme, func(t *testing.T) {
			r := start(t, scheme, "", www)
			u := r.upstream(t)
			mustExchange(t, u, "www.example")
			r.stop()
			if m, err := exchange(t, u, "www.example"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("it is down: %v %v", m, err)
			}
			host := strings.TrimSuffix(strings.TrimPrefix(r.url, scheme+"://"), "/dns-query")
			again := start(t, scheme, host, www)
			mustExchange(t, u, "www.example")
			if again.opened.Load() != 1 {
				t.Error("another answered")
			}
		})
	}
}

// TestUDPRefused: a port that nobody has is known at once, where the socket can tell.
func TestUDPRefused(t *testing.T) {
	r := start(t, "udp", "", www)
	r.stop()
	u := r.upstream(t)
	if m, err := exchange(t, u, "www.example"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v %v", m, err)
	}
}

// TestUDPLoss: the first datagram is lost, the second answered.
func TestUDPLoss(t *testing.T) {
	var n atomic.Int64
	r := start(t, "udp", "", func(w dns.ResponseWriter, q *dns.Msg) {
		if n.Add(1) > 1 {
			www(w, q)
		}
	})
	u := r.upstream(t)
	mustExchange(t, u, "www.example")
	if n.Load() != 2 || len(u.(*packets).idle) != 0 {
		t.Errorf("sent %d times, and %d sockets are kept on which more may come", n.Load(), len(u.(*packets).idle))
	}
}

// TestLies: what is no response to the question is passed over.
func TestLies(t *testing.T) {
	lie := func(w dns.ResponseWriter, q *dns.Msg) {
		for _, spoil := range []func(*dns.Msg){
			func(m *dns.Msg) { m.Id++ },
			func(m *dns.Msg) { m.Question[0].Name = "evil.example." },
			func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMX },
			func(m *dns.Msg) { m.Response = false },
			func(m *dns.Msg) { m.Question = nil },
		} {
			m := inZone(q, []string{"www.example. 60 IN A 6.6.6.6"})
			spoil(m)
			_ = w.WriteMsg(m)
		}
		www(w, q)
	}
	for _, scheme := range schemes[:3] {
		t.Run(scheme, func(t *testing.T) {
			u := start(t, scheme, "", lie).upstream(t)
			m, err := exchange(t, u, "www.example")
			if err != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "192.0.2.1" {
				t.Errorf("%v\n%v", err, m)
			}
			if st := u.(accountant).account()[0]; st.Ignored != 5 {
				t.Errorf("%+v", st)
			}
		})
	}
	for name, h := range map[string]handler{
		"name":   func(w dns.ResponseWriter, q *dns.Msg) { q.Question[0].Name = "evil.example."; www(w, q) },
		"type":   func(w dns.ResponseWriter, q *dns.Msg) { _, _ = w.Write([]byte("hello")) },
		"status": func(w dns.ResponseWriter, q *dns.Msg) { w.(httpsWriter).http.WriteHeader(http.StatusTeapot) },
		"elsewhere": func(w dns.ResponseWriter, q *dns.Msg) {
			w.(httpsWriter).http.Header().Set("Location", "https://192.0.2.1/")
			w.(httpsWriter).http.WriteHeader(http.StatusTemporaryRedirect)
		},
		"endless": func(w dns.ResponseWriter, q *dns.Msg) {
			w.(httpsWriter).http.Header().Set("Content-Type", mediaType)
			_, _ = w.Write(make([]byte, 1<<20))
		},
		"empty": func(w dns.ResponseWriter, q *dns.Msg) { w.(httpsWriter).http.Header().Set("Content-Type", mediaType) },
	} {
		u := start(t, "https", "", h).upstream(t)
		if m, err := exchange(t, u, "www.example"); err == nil {
			t.Errorf("https, %s: %v", name, m)
		}
	}
}

// TestSlow: a server that does not answer costs its time and no more, and is not asked
// over the same connection again.
func TestSlow(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			release := make(chan struct{})
			r := start(t, scheme, "", func(w dns.ResponseWriter, q *dns.Msg) {
				if q.Question[0].Name == "slow.example." {
					<-release
				}
				www(w, q)
			})
			t.Cleanup(func() { close(release) })
			u := r.upstream(t)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			var op *net.OpError
			if m, err := exchangeIn(t, ctx, u, "slow.example"); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &op) {
				t.Errorf("%v %v", m, err)
			}
			mustExchange(t, u, "www.example")
			if n := r.opened.Load(); strings.HasPrefix(scheme, "t") && n != 2 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// freeForBoth returns an address of the loopback that is nobody's over UDP nor TCP.
func freeForBoth(t *testing.T) string {
	t.Helper()
	for range 50 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", pc.LocalAddr().String())
		pc.Close()
		if err == nil {
			ln.Close()
			return pc.LocalAddr().String()
		}
	}
	t.Fatal("no port that is free for both")
	return ""
}

// TestTruncatedOverUDP is asked again over TCP, at the same port.
func TestTruncatedOverUDP(t *testing.T) {
	address := freeForBoth(t)
	tcp := start(t, "tcp", address, www)
	udp := start(t, "udp", address, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Truncated = true
		_ = w.WriteMsg(m)
	})
	u := udp.upstream(t)
	mustExchange(t, u, "www.example")
	if tcp.opened.Load() != 1 || len(u.(accountant).account()) != 2 {
		t.Errorf("%+v", u.(accountant).account())
	}
}

// TestByName: names are looked up once, before, or left to the Dialer.
func TestByName(t *testing.T) {
	for _, scheme := range schemes {
		r := start(t, scheme, "", www)
		_, rest, _ := strings.Cut(r.url, "127.0.0.1")
		r.url = scheme + "://example.com" + rest
		looked := 0
		r.options.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			if looked++; host != "example.com" {
				t.Errorf("looked up %s", host)
			}
			return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
		}
		u := r.upstream(t)
		s := newServer(t, &Config{Upstream: Failover(u)})
		if err := s.Prepare(t.Context()); err != nil {
			t.Error(err)
		}
		if looked != 1 {
			t.Errorf("looked up %d times", looked)
		}
		mustExchange(t, u, "www.example")
		if looked != 1 {
			t.Error("looked up again")
		}
		r.options.Dialer, r.options.ByName = proxy{t}, true
		r.options.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("not to be asked") }
		named := r.upstream(t)
		if err := Prepare(t.Context(), named); err != nil {
			t.Error(err)
		}
		mustExchange(t, named, "www.example")
		r.options.ByName = false
		lost := r.upstream(t)
		if err := Prepare(t.Context(), lost); err == nil || !strings.Contains(err.Error(), "example.com") {
			t.Errorf("%v", err)
		}
		if _, err := exchange(t, lost, "www.example"); err == nil {
			t.Error("asked nobody knows whom")
		}
	}
}

// proxy is an outbound that takes names.
type proxy struct{ t *testing.T }

func (p proxy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, _ := net.SplitHostPort(address)
	if host != "example.com" {
		p.t.Errorf("dialled %s", address)
	}
	return new(direct.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
}

func (p proxy) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	pc, err := new(direct.Dialer).ListenPacket(ctx, network, address)
	return proxySocket{pc, p.t}, err
}

type proxySocket struct {
	net.PacketConn
	t *testing.T
}

func (p proxySocket) WriteTo(b []byte, to net.Addr) (int, error) {
	n, ok := to.(outbound.Name)
	if !ok || n.Host != "example.com" {
		p.t.Errorf("sent to %v", to)
	}
	return p.PacketConn.WriteTo(b, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(n.Port)})
}

// TestSecondAddress: a server whose first address is dead is found at the other.
func TestSecondAddress(t *testing.T) {
	r := start(t, "tcp", "", www)
	_, port, _ := strings.Cut(r.url, "127.0.0.1")
	r.url = "tcp://example.com" + port
	r.options.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	mustExchange(t, r.upstream(t), "www.example")
}

func TestWrongCertificate(t *testing.T) {
	for _, scheme := range []string{"tls", "https"} {
		r := start(t, scheme, "", www)
		r.options.TLS = nil
		if _, err := exchange(t, r.upstream(t), "www.example"); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

func TestParseUpstream(t *testing.T) {
	for raw, want := range map[string]string{
		"system": "system", "9.9.9.9": "udp://9.9.9.9:53", "9.9.9.9:5353": "udp://9.9.9.9:5353", "2620:fe::fe": "udp://[2620:fe::fe]:53",
		"udp://[2620:fe::fe]:5353": "udp://[2620:fe::fe]:5353", "tcp://9.9.9.9": "tcp://9.9.9.9:53", "tls://dns.quad9.net": "tls://dns.quad9.net:853",
		"https://dns.quad9.net/dns-query": "https://dns.quad9.net:443/dns-query", "https://dns.example:8443": "https://dns.example:8443/dns-query",
		"[fe80::1%eth0]:53": "udp://[fe80::1%eth0]:53", "9.9.9.9, tls://dns.quad9.net": "udp://9.9.9.9:53,tls://dns.quad9.net:853",
		"": "", "ftp://9.9.9.9": "", "tls://": "", "udp://9.9.9.9:0": "", "udp://9.9.9.9:x": "", "udp://9.9.9.9/x": "", "https://a/b?c": "",
		"https://u:secret@a/b": "", "https://u:secret@a:x/b": "", "u:secret@a": "", "tls://u:sec@secret@a": "", "tls://u:%secret@a": "", "ftp://secret@a/b": "", "9.9.9.9,,": "", "https:///dns-query": "", "udp://9.9.9.9:65536": "", "a b": "", "quad9": "", "quad9:53": "",
	} {
		u, err := ParseUpstream(raw, nil)
		if (err == nil) != (want != "") {
			t.Errorf("%q: %v", raw, err)
			continue
		}
		if err != nil {
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v", raw, err)
			}
			continue
		}
		if got := u.(fmt.Stringer).String(); got != want {
			t.Errorf("%q is %q, want %q", raw, got, want)
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
}
