package gostrelay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/go-gost/relay"

	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/internal/hop"
	"l3extract/adapters/outbound"
)

// serve runs a server that answers with status, and is an echo after OK. It gives what
// it was asked for.
func serve(t *testing.T, status uint8, features ...relay.Feature) (address string, asked chan relay.Request) {
	asked = make(chan relay.Request, 1)
	return fakeproxy.Serve(t, func(c *net.TCPConn) {
		var r relay.Request
		if _, err := r.ReadFrom(c); err != nil {
			t.Errorf("the request: %v", err)
			return
		}
		asked <- r
		var b bytes.Buffer
		_, _ = (&relay.Response{Version: relay.Version1, Status: status, Features: features}).WriteTo(&b)
		b.WriteString("banner")
		_, _ = b.WriteTo(c)
		if status == relay.StatusOK {
			fakeproxy.Echo(c)
		}
	}), asked
}

// TestConnect: the conn is plain, and what the destination says at once is there.
func TestConnect(t *testing.T) {
	for _, tc := range []struct {
		address string
		want    relay.AddrFeature
	}{
		{"192.0.2.1:80", relay.AddrFeature{AType: relay.AddrIPv4, Host: "192.0.2.1", Port: 80}},
		{"[2001:db8::1]:443", relay.AddrFeature{AType: relay.AddrIPv6, Host: "2001:db8::1", Port: 443}},
		{"a.example:443", relay.AddrFeature{AType: relay.AddrDomain, Host: "a.example", Port: 443}},
	} {
		for _, user := range []string{"", "anna"} {
			address, asked := serve(t, relay.StatusOK, &relay.AddrFeature{AType: relay.AddrIPv4, Host: "192.0.2.7"})
			d := &Dialer{Address: address}
			if user != "" {
				d.Username, d.Password = user, "s3cret"
			}
			c, err := d.DialContext(fakeproxy.Soon(t), "tcp", tc.address)
			if err != nil {
				t.Fatal(err)
			}
			r := <-asked
			if got := *r.Features[len(r.Features)-1].(*relay.AddrFeature); got != tc.want || r.Cmd != relay.CmdConnect {
				t.Errorf("asked for %+v with %d", got, r.Cmd)
			}
			if len(r.Features) == 2 != (user != "") {
				t.Errorf("%d features", len(r.Features))
			} else if user != "" {
				if got := *r.Features[0].(*relay.UserAuthFeature); got.Username != user || got.Password != "s3cret" {
					t.Errorf("%+v", got)
				}
			}
			if _, ok := c.(*net.TCPConn); !ok {
				t.Errorf("a %T, want a *net.TCPConn", c)
			}
			b := make([]byte, 6)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "banner" {
				t.Errorf("got %q, %v", b, err)
			}
			fakeproxy.WantEcho(t, c)
			_ = c.Close()
		}
	}
}

// TestEarly: a refusal is the first Read's.
func TestEarly(t *testing.T) {
	for _, status := range []uint8{relay.StatusOK, relay.StatusForbidden} {
		address, _ := serve(t, status)
		d := &Dialer{Address: address}
		c, err := d.DialEarly(fakeproxy.Soon(t), "tcp", "192.0.2.1:80")
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 6)
		n, err := io.ReadFull(c, b)
		if status == relay.StatusOK && (err != nil || string(b) != "banner") || status != relay.StatusOK && (n != 0 || !errors.Is(err, syscall.EACCES)) {
			t.Errorf("status %d: %q, %v", status, b[:n], err)
		}
		_ = c.Close()
	}
	if _, err := new(Dialer).DialEarly(t.Context(), "tcp", "nonsense"); err == nil {
		t.Error("nonsense is no error")
	}
}

// TestStatus: what becomes of each.
func TestStatus(t *testing.T) {
	for status, want := range map[uint8]struct {
		err   error
		fault bool
	}{
		relay.StatusBadRequest:          {outbound.ErrProxy, true},
		relay.StatusUnauthorized:        {syscall.EACCES, true},
		relay.StatusForbidden:           {syscall.EACCES, false},
		relay.StatusTimeout:             {syscall.ETIMEDOUT, false},
		relay.StatusServiceUnavailable:  {syscall.EHOSTUNREACH, false},
		relay.StatusHostUnreachable:     {syscall.EHOSTUNREACH, false},
		relay.StatusNetworkUnreachable:  {syscall.ENETUNREACH, false},
		relay.StatusInternalServerError: {outbound.ErrProxy, true},
		99:                              {outbound.ErrProxy, true},
	} {
		address, _ := serve(t, status)
		d := &Dialer{Address: address, Username: "anna", Password: "s3cret"}
		_, err := d.DialContext(fakeproxy.Soon(t), "tcp", "192.0.2.1:80")
		var op *net.OpError
		if !errors.Is(err, want.err) || errors.Is(err, outbound.ErrProxy) != want.fault || !errors.As(err, &op) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("status %d: %v, want %v", status, err, want)
		}
	}
}

// TestLies: wherever in its answer a server lies, there is one line of error.
func TestLies(t *testing.T) {
	var ask, ok bytes.Buffer
	d := &Dialer{Username: "anna", Password: "s3cret"}
	_, _ = (&relay.Request{Version: relay.Version1, Cmd: relay.CmdConnect, Features: []relay.Feature{
		&relay.UserAuthFeature{Username: "anna", Password: "s3cret"},
		&relay.AddrFeature{AType: relay.AddrIPv4, Host: "192.0.2.1", Port: 80},
	}}).WriteTo(&ask)
	_, _ = (&relay.Response{Version: relay.Version1, Features: []relay.Feature{&relay.AddrFeature{AType: relay.AddrIPv4}}}).WriteTo(&ok)
	talk := fakeproxy.Step{Want: ask.Bytes(), Answer: ok.Bytes()}
	for at := range len(talk.Answer) {
		for _, lie := range fakeproxy.Lies {
			if lie == "junk" && at > 7 {
				continue // an address may be anything
			}
			ctx, cancel := context.WithCancel(fakeproxy.Soon(t))
			d.Address = fakeproxy.Serve(t, func(c *net.TCPConn) { fakeproxy.Lie(t, c, at, lie, cancel, talk) })
			c, err := d.DialContext(ctx, "tcp", "192.0.2.1:80")
			cancel()
			if err == nil {
				_ = c.Close()
				t.Errorf("%s at byte %d is no error", lie, at)
				continue
			}
			if silence := lie == "silence"; errors.Is(err, outbound.ErrProxy) == silence || errors.Is(err, context.Canceled) != silence {
				t.Errorf("%s at byte %d: %v", lie, at, err)
			}
			if s := err.Error(); strings.ContainsAny(s, "\r\n") || strings.Contains(s, "s3cret") {
				t.Errorf("%s at byte %d: %q", lie, at, s)
			}
		}
	}
}

func TestMisuse(t *testing.T) {
	d := &Dialer{Address: "192.0.2.9:1", Username: strings.Repeat("x", 256), Dialer: fakeproxy.Dialer(nil)}
	if _, err := d.DialContext(t.Context(), "tcp", "192.0.2.1:80"); !errors.Is(err, syscall.EACCES) {
		t.Errorf("a long name: %v", err)
	}
	if _, err := d.DialContext(t.Context(), "udp", "192.0.2.1:80"); err == nil {
		t.Error("udp is no error")
	}
	if _, err := d.DialContext(t.Context(), "tcp", "nonsense"); err == nil {
		t.Error("nonsense is no error")
	}
}

// FuzzAnswer: whatever a server says is a success or an error of one line.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 'x'})
	f.Add([]byte{1, 0, 0, 10, 2, 0, 7, 1, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 4, 2, 0, 1, 0})
	f.Add([]byte{1, 3, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		err := answer(&hop.Proxy{Protocol: "relay", Address: "x"}, r)
		if err == nil && (len(b) < 4 || b[0] != 1 || b[1] != 0 || len(b)-r.Len() != 4+int(b[2])<<8+int(b[3])) {
			t.Errorf("% x is a success after %d bytes", b, len(b)-r.Len())
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%q", err)
		}
	})
}
