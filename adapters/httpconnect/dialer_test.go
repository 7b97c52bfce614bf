package httpconnect

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/internal/realproxy"
	"l3extract/adapters/outbound"
)

const (
	target4 = "192.0.2.1:80"
	asked   = "CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: 192.0.2.1:80\r\n"
	granted = "HTTP/1.1 200 Connection established\r\nServer: x\r\n\r\n"
)

func ask(more, answer string) fakeproxy.Step {
	return fakeproxy.Step{Want: []byte(asked + more + "\r\n"), Answer: []byte(answer)}
}

// TestConnect: the conn is plain, and what the destination says at once is there.
func TestConnect(t *testing.T) {
	for _, tc := range []struct {
		name   string
		d      *Dialer
		more   string
		answer string
	}{
		{"plain", &Dialer{}, "", granted},
		{"password", &Dialer{Username: "Aladdin", Password: "open sesame"}, "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", granted},
		{"header", &Dialer{Header: http.Header{"X-A": {"b\r\nInjected: c"}}}, "X-A: b  Injected: c\r\n", granted},
		{"old proxy", &Dialer{}, "", "HTTP/1.0 200 OK\n\n"},
		{"another success", &Dialer{}, "", "HTTP/1.1 204 Fine\r\n\r\n"},
		{"a length that means nothing", &Dialer{}, "", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
		{"patience", &Dialer{}, "", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + granted},
		{"many headers", &Dialer{}, "", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", maxHead-50) + "\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.d.Address = fakeproxy.Serve(t, func(c *net.TCPConn) {
				if fakeproxy.Play(t, c, ask(tc.more, tc.answer+"banner")) {
					fakeproxy.Echo(c)
				}
			})
			c, err := tc.d.DialContext(fakeproxy.Soon(t), "tcp", target4)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, ok := c.(*net.TCPConn); !ok {
				t.Errorf("a %T, want a *net.TCPConn", c)
			}
			b := make([]byte, 6)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "banner" {
				t.Errorf("got %q, %v", b, err)
			}
			fakeproxy.WantEcho(t, c)
		})
	}
}

// TestStatus: what becomes of each status, and of what headers tell beside it.
func TestStatus(t *testing.T) {
	for _, tc := range []struct {
		answer string
		want   error
		fault  bool
	}{
		{"407 Proxy Authentication Required\r\nProxy-Authenticate: Basic", syscall.EACCES, true},
		{"403 Forbidden", syscall.EACCES, false},
		{"404 Not Found", syscall.EHOSTUNREACH, false},
		{"500 Unable to connect", syscall.EHOSTUNREACH, false},
		{"502 Bad Gateway", syscall.EHOSTUNREACH, false},
		{"503 Service Unavailable", syscall.EHOSTUNREACH, false},
		{"504 Gateway Timeout", syscall.ETIMEDOUT, false},
		{"400 Bad Request", errors.ErrUnsupported, true},
		{"405 Method Not Allowed", errors.ErrUnsupported, true},
		{"501 Not Implemented", errors.ErrUnsupported, true},
		{"301 Moved\r\nLocation: /", errors.ErrUnsupported, true},
		{"101 Switching Protocols", errors.ErrUnsupported, true},
		{"999 Whatever", errors.ErrUnsupported, true},
		{"503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 111", syscall.ECONNREFUSED, false},
		{"503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 113", syscall.EHOSTUNREACH, false},
		{"503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 110", syscall.ETIMEDOUT, false},
		{"502 Bad Gateway\r\nProxy-Status: p; error=connection_refused", syscall.ECONNREFUSED, false},
		{"502 Bad Gateway\r\nProxy-Status: p; error=surprise", syscall.EHOSTUNREACH, false},
	} {
		d := &Dialer{Username: "anna", Password: "s3cret"}
		auth := "Proxy-Authorization: Basic YW5uYTpzM2NyZXQ=\r\n"
		d.Address = fakeproxy.Serve(t, func(c *net.TCPConn) {
			fakeproxy.Play(t, c, ask(auth, "HTTP/1.1 "+tc.answer+"\r\nContent-Length: 3\r\n\r\nno\n"))
		})
		_, err := d.DialContext(fakeproxy.Soon(t), "tcp", target4)
		var op *net.OpError
		if !errors.Is(err, tc.want) || errors.Is(err, outbound.ErrProxy) != tc.fault || !errors.As(err, &op) {
			t.Errorf("%q: %v, want %v, fault %v", tc.answer, err, tc.want, tc.fault)
			continue
		}
		if s := err.Error(); strings.ContainsAny(s, "\r\n") || strings.Contains(s, "s3cret") || strings.Contains(s, "YW5u") {
			t.Errorf("%q: %q", tc.answer, s)
		}
	}
}

// TestLies: wherever in its answer a proxy lies, there is one line of error, without
// the password, which it may have sent back.
func TestLies(t *testing.T) {
	auth := "Proxy-Authorization: Basic YW5uYTpzM2NyZXQ=\r\n"
	talk := ask(auth, granted)
	for at := range len(granted) {
		for _, lie := range fakeproxy.Lies {
			ctx, cancel := context.WithCancel(fakeproxy.Soon(t))
			address := fakeproxy.Serve(t, func(c *net.TCPConn) { fakeproxy.Lie(t, c, at, lie, cancel, talk) })
			d := &Dialer{Address: address, Username: "anna", Password: "s3cret"}
			c, err := d.DialContext(ctx, "tcp", target4)
			cancel()
			if err == nil {
				_ = c.Close()
				t.Errorf("%s at byte %d is no error", lie, at)
				continue
			}
			if silence := lie == "silence"; errors.Is(err, outbound.ErrProxy) == silence || errors.Is(err, context.Canceled) != silence {
				t.Errorf("%s at byte %d: %v", lie, at, err)
			}
			if s := err.Error(); strings.ContainsAny(s, "\r\n") || strings.Contains(s, "s3cret") || len(s) > 200 {
				t.Errorf("%s at byte %d: %q", lie, at, s)
			}
		}
	}
	for _, answer := range []string{
		asked + auth + "\r\n", // an echo
		"\x05\x00\x00\x00\r\n\r\n",
		"SSH-2.0-OpenSSH_9.9\r\n\r\n",
		"HTTP/1.1 2xx OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nYW5uYTpzM2NyZXQ=\r\n\r\n",
		strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1+maxHead/25),
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", maxHead) + "\r\n\r\n",
	} {
		d := &Dialer{Username: "anna", Password: "s3cret", Address: fakeproxy.Serve(t, func(c *net.TCPConn) {
			if fakeproxy.Play(t, c, ask(auth, answer)) {
				_, _ = io.Copy(io.Discard, c)
			}
		})}
		_, err := d.DialContext(fakeproxy.Soon(t), "tcp", target4)
		if !errors.Is(err, outbound.ErrProxy) || strings.Contains(err.Error(), "YW5u") || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%.30q: %v, want ErrProxy", answer, err)
		}
	}
}

// TestTimeout: a destination of which nothing is heard.
func TestTimeout(t *testing.T) {
	d := &Dialer{Timeout: 50 * time.Millisecond, Address: fakeproxy.Serve(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })}
	_, err := d.DialContext(t.Context(), "tcp", target4)
	if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, outbound.ErrProxy) {
		t.Errorf("%v, want a time-out that is not the proxy's fault", err)
	}
}

// TestTargets: what is no destination never gets into a head.
func TestTargets(t *testing.T) {
	d := &Dialer{Address: "x:1", Dialer: fakeproxy.Dialer(func(context.Context, string, string) (net.Conn, error) {
		t.Error("the proxy was dialled")
		return nil, errors.New("no")
	})}
	for _, address := range []string{
		"", "x", "a b:1", "a\r\nX: y:1", "a/b:1", "a?b:1", "u@h:1", "\x00:1", "ä.example:1", strings.Repeat("x", 256) + ":1", "[fe80::1%eth0]:1",
	} {
		if _, err := d.DialContext(t.Context(), "tcp", address); err == nil || strings.ContainsAny(err.Error(), "\r") {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:443", "xn--a.example:1", "_x-1.example:1"} {
		if got, err := target(address); err != nil || got != address {
			t.Errorf("%q: %q, %v", address, got, err)
		}
	}
	if _, err := d.DialContext(t.Context(), "udp", target4); err == nil {
		t.Error("udp is no error")
	}
}

// TestTLS: to a proxy whose certificate is good, is not, or that speaks no TLS.
func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != target4 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, granted+"banner")
		fakeproxy.Echo(c)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	address := srv.Listener.Addr().String()
	for _, config := range []*tls.Config{{RootCAs: roots}, {RootCAs: roots, ServerName: "example.com"}, {InsecureSkipVerify: true}} {
		d := &Dialer{Address: address, TLS: config}
		c, err := d.DialContext(fakeproxy.Soon(t), "tcp", target4)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 6)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "banner" {
			t.Errorf("got %q, %v", b, err)
		}
		fakeproxy.WantEcho(t, c)
		_ = c.Close()
		if name := config.ServerName; name != "" && name != "example.com" {
			t.Errorf("the caller's configuration was changed: %q", name)
		}
	}
	if name := (&Dialer{Address: "proxy.example:443", TLS: &tls.Config{InsecureSkipVerify: true}}).config().ServerName; name != "proxy.example" {
		t.Errorf("a proxy that is not verified is told the name %q", name) // it may serve several
	}
	for _, config := range []*tls.Config{{}, {RootCAs: roots, ServerName: "other.example"}} {
		d := &Dialer{Address: address, TLS: config}
		if _, err := d.DialContext(fakeproxy.Soon(t), "tcp", target4); !errors.Is(err, outbound.ErrProxy) {
			t.Errorf("%v, want ErrProxy", err)
		}
	}
	plain := &Dialer{TLS: &tls.Config{}, Address: fakeproxy.Serve(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})}
	if _, err := plain.DialContext(fakeproxy.Soon(t), "tcp", target4); !errors.Is(err, outbound.ErrProxy) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, want ErrProxy", err)
	}
}

// TestTinyproxy: the proxy that people run.
func TestTinyproxy(t *testing.T) {
	address := realproxy.Tinyproxy(t, "anna", "s3cret")
	d := &Dialer{Address: address, Username: "anna", Password: "s3cret"}
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		c, err := d.DialContext(fakeproxy.Soon(t), "tcp", realproxy.Echo(t, listen))
		if err != nil {
			t.Fatal(err)
		}
		fakeproxy.WantEcho(t, c)
		_ = c.Close()
	}
	if _, err := d.DialContext(fakeproxy.Soon(t), "tcp", realproxy.Closed(t)); !errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, outbound.ErrProxy) {
		t.Errorf("a closed port: %v, want EHOSTUNREACH, which is all that it says", err)
	}
	for _, wrong := range []*Dialer{{Address: address, Username: "anna", Password: "hush"}, {Address: address}} {
		if _, err := wrong.DialContext(fakeproxy.Soon(t), "tcp", target4); !errors.Is(err, syscall.EACCES) || !errors.Is(err, outbound.ErrProxy) {
			t.Errorf("a wrong password: %v, want EACCES and ErrProxy", err)
		}
	}
}

// FuzzParse: a head is a response or an error that quotes nothing of it.
func FuzzParse(f *testing.F) {
	f.Add([]byte(granted))
	f.Add([]byte("HTTP/1.1 503 x\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: -1\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		r, err := parse(head)
		if (r == nil) == (err == nil) {
			t.Fatalf("%v, %v", r, err)
		}
		if err == nil && r.StatusCode/100 != 2 {
			if s := failure(new(Dialer).proxy(), r, true).Error(); strings.ContainsAny(s, "\r\n") {
				t.Errorf("%q", s)
			}
		}
	})
}
