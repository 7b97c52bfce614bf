package dns

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/miekg/dns"
)

// FuzzPipeline: whatever a server sends over a connection, what Exchange returns is a
// response to its question, or an error.
func FuzzPipeline(f *testing.F) {
	q := question("www.example", dns.TypeA)
	q.Id = 0
	good := framed(f, inZone(q, []string{"www.example. 60 IN A 192.0.2.1"}))
	f.Add(good)
	f.Add(append(good, good...))
	f.Add([]byte("\x00\x00\x00\x0c\x00\x00\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00"))
	asked := packed(f, q)
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &scripted{answer: b}
		u, err := ParseUpstream("tcp://192.0.2.53", &Options{Dialer: d})
		if err != nil {
			t.Fatal(err)
		}
		response, err := u.Exchange(t.Context(), asked)
		if (err == nil) != (response != nil) || err == nil && responds(response, asked) != nil {
			t.Fatalf("%x, %v", response, err)
		}
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// scripted is a Dialer of servers that take a query and answer bytes, under the id of
// that query where the bytes have zeros.
type scripted struct{ answer []byte }

func (d *scripted) DialContext(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() { // ends when near is closed, which Exchange or Close does
		defer far.Close()
		b := make([]byte, maxQuery)
		n, err := far.Read(b)
		if err != nil || n < prefixSize+2 {
			return
		}
		answer := bytes.Clone(d.answer)
		if len(answer) >= prefixSize+2 && answer[prefixSize] == 0 && answer[prefixSize+1] == 0 {
			copy(answer[prefixSize:], b[prefixSize:prefixSize+2])
		}
		_, _ = far.Write(answer)
	}()
	return near, nil
}

// FuzzParseUpstream: an upstream or an error of one line; what an upstream calls itself
// means the same.
func FuzzParseUpstream(f *testing.F) {
	for _, s := range []string{"system", "9.9.9.9", "[fe80::1%eth0]:53", "tls://dns.quad9.net", "https://a:1/b", "tcp://[::1]", "1.1.1.1,2.2.2.2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := ParseUpstream(raw, nil)
		if (err == nil) != (u != nil) {
			t.Fatalf("%v, %v", u, err)
		}
		if err != nil {
			return
		}
		name := u.(fmt.Stringer).String()
		again, err := ParseUpstream(name, nil)
		if err != nil || again.(fmt.Stringer).String() != name {
			t.Fatalf("%q is %q, which is %v, %v", raw, name, again, err)
		}
	})
}

// FuzzResolvConf: there is always a server, and each has an address and port.
func FuzzResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 127.0.0.53\nnameserver fe80::1%eth0\nsearch x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		servers := parseResolvConf(b)
		for _, s := range servers {
			if !s.IsValid() || s.Port() != 53 || s.Addr().Is4In6() {
				t.Fatalf("%v", s)
			}
		}
		if len(servers) == 0 {
			t.Fatal("nobody to ask")
		}
	})
}
