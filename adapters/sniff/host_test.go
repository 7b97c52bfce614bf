package sniff

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
)

// clientHello returns what a client of crypto/tls says first.
func clientHello(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	c := &keep{replay: replay{r: bytes.NewReader(nil)}}
	_ = tls.Client(c, cfg).HandshakeContext(context.Background()) // fails for want of an answer
	if c.Len() == 0 {
		t.Fatal("the client said nothing")
	}
	return c.Bytes()
}

type keep struct {
	replay
	bytes.Buffer
}

func (k *keep) Read(b []byte) (int, error)  { return k.replay.Read(b) }
func (k *keep) Write(b []byte) (int, error) { return k.Buffer.Write(b) }

// records cuts the one record of a hello into several of n bytes.
func records(hello []byte, n int) []byte {
	var out []byte
	for body := hello[recordHeader:]; len(body) > 0; {
		part := body[:min(n, len(body))]
		body = body[len(part):]
		out = append(append(out, hello[0], hello[1], hello[2], byte(len(part)>>8), byte(len(part))), part...)
	}
	return out
}

func TestHost(t *testing.T) {
	named := func(name string) []byte {
		return clientHello(t, &tls.Config{ServerName: name, NextProtos: []string{"h2"}})
	}
	for _, tc := range []struct {
		what string
		b    []byte
		want string
	}{
		{"TLS 1.3", named("www.Example.COM"), "www.example.com"},
		{"TLS 1.2", clientHello(t, &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12}), "a.example"},
		{"TLS in several records", records(named("www.example.com"), 100), "www.example.com"},
		{"TLS without a name", clientHello(t, &tls.Config{InsecureSkipVerify: true}), ""},
		{"TLS with an address", named("192.0.2.1"), ""},
		{"HTTP", []byte("GET / HTTP/1.1\r\nUser-Agent: x\r\nHost: Example.com\r\n\r\n"), "example.com"},
		{"HTTP with a port", []byte("POST /x HTTP/1.1\r\nHost: example.com:8080\r\nContent-Length: 3\r\n\r\nabc"), "example.com"},
		{"HTTP with an address", []byte("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n"), ""},
		{"HTTP to a proxy", []byte("GET http://example.net/ HTTP/1.1\r\nHost: example.com\r\n\r\n"), "example.net"},
		{"CONNECT", []byte("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"), "example.org"},
		{"HTTP/1.0 without Host", []byte("GET / HTTP/1.0\r\n\r\n"), ""},
		{"two Hosts", []byte("GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n"), ""},
		{"a final dot", []byte("GET / HTTP/1.1\r\nHost: example.com.\r\n\r\n"), "example.com"},
		{"no name", []byte("GET / HTTP/1.1\r\nHost: ex ample.com\r\n\r\n"), ""},
		{"an empty label", []byte("GET / HTTP/1.1\r\nHost: example..com\r\n\r\n"), ""},
		{"too long", []byte("GET / HTTP/1.1\r\nHost: " + strings.Repeat("a.", 127) + "com\r\n\r\n"), ""},
		{"HTTP/2 without TLS", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ""},
		{"an underscore", []byte("GET / HTTP/1.1\r\nHost: _x.example.com\r\n\r\n"), "_x.example.com"},
		{"SSH", []byte("SSH-2.0-OpenSSH_9.9\r\n"), ""},
		{"SMTP", []byte("EHLO example.com\r\n"), ""},
		{"zeros", make([]byte, 100), ""},
		{"an alert", []byte{21, 3, 1, 0, 2, 2, 40}, ""},
		{"a broken hello", []byte{22, 3, 1, 0, 4, 1, 0, 0, 0}, ""},
	} {
		t.Run(tc.what, func(t *testing.T) {
			got, done := Host(tc.b, false)
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
			if !done && tc.what != "SMTP" {
				t.Error("more is wanted")
			}
			// Byte by byte it comes to the same, and not before its time.
			for i := range tc.b {
				if got, done := Host(tc.b[:i], false); done && got != tc.want {
					t.Fatalf("%q after %d of %d bytes, want %q", got, i, len(tc.b), tc.want)
				}
			}
		})
	}
}

// TestHostCutShort: what does not fit is read as far as it goes.
func TestHostCutShort(t *testing.T) {
	long := "GET / HTTP/1.1\r\nHost: example.com\r\nCookie: " + strings.Repeat("x", 2*MaxBytes)
	if got, done := Host([]byte(long[:MaxBytes]), false); got != "" || done {
		t.Errorf("%q, %v before the end", got, done)
	}
	if got, done := Host([]byte(long[:MaxBytes]), true); got != "example.com" || !done {
		t.Errorf("%q, %v at the end", got, done)
	}
	for _, b := range []string{"", "G", "GET / HT", "GET / HTTP/1.1\r\nHos", "\x16", "\x16\x03\x01\x00"} {
		if got, done := Host([]byte(b), true); got != "" || !done {
			t.Errorf("%q: %q, %v", b, got, done)
		}
	}
}

// FuzzHost: what is found is a name, it is the same in a longer piece, and the bytes
// stay as they are.
func FuzzHost(f *testing.F) {
	f.Add(clientHello(f, &tls.Config{ServerName: "www.example.com"}), 20)
	f.Add(records(clientHello(f, &tls.Config{ServerName: "www.example.com"}), 100), 300)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"), 30)
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 5)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		was := bytes.Clone(b)
		for _, last := range []bool{false, true} {
			host, done := Host(b, last)
			if host != clean(host) {
				t.Errorf("%q is no name", host)
			}
			if last && !done || host != "" && !done {
				t.Errorf("%q, %v", host, done)
			}
			if cut = min(max(cut, 0), len(b)); true {
				if part, done := Host(b[:cut], false); done && !last && part != host {
					t.Errorf("%q in %d bytes, %q in %d", part, cut, host, len(b))
				}
			}
		}
		if !bytes.Equal(was, b) {
			t.Error("the bytes were changed")
		}
	})
}

// TestReplay: the conn that crypto/tls is given leads nowhere.
func TestReplay(t *testing.T) {
	var c net.Conn = &replay{r: bytes.NewReader([]byte("x"))}
	b := make([]byte, 2)
	if n, err := c.Read(b); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := c.Read(b); err != io.ErrUnexpectedEOF {
		t.Errorf("%v at the end", err)
	}
}

func BenchmarkHost(b *testing.B) {
	hello := clientHello(b, &tls.Config{ServerName: "www.example.com"})
	b.ReportAllocs()
	for b.Loop() {
		if host, _ := Host(hello, false); host == "" {
			b.Fatal("no name")
		}
	}
}
