package proxyurl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/direct"
	"l3extract/adapters/gostrelay"
	"l3extract/adapters/httpconnect"
	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/internal/realproxy"
	"l3extract/adapters/outbound"
	"l3extract/adapters/reject"
	"l3extract/adapters/shadowsocks"
	"l3extract/adapters/socks4"
	"l3extract/adapters/socks5"
	"l3extract/adapters/sshtunnel"
)

// secrets are what no error may show.
var secrets = []string{"s3cret", "hunter2", "c3JldA"}

func leaks(t *testing.T, what string, err error) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(err.Error(), s) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("%s: an error of more than one line: %q", what, err)
	}
}

func env(name string) (string, bool) {
	v, ok := map[string]string{"PW": "hunter2", "WHO": "anna", "EMPTY": ""}[name]
	return v, ok
}

// TestParse: what becomes of each URL.
func TestParse(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pw")
	if err := os.WriteFile(file, []byte("s3cret\r\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := &direct.Dialer{Mark: 7}
	for _, tc := range []struct {
		raw  string
		want outbound.Dialer // but for Dialer and PacketListener
		udp  bool
	}{
		{"direct://", base, true},
		{"reject://", &reject.Dialer{}, true},
		{"reject://?answer=silence", &reject.Dialer{Answer: reject.Silence}, true},
		{"host", &socks5.Dialer{Address: "host:1080"}, true},
		{"192.0.2.1:99", &socks5.Dialer{Address: "192.0.2.1:99"}, true},
		{"anna:s3cret@host:1", &socks5.Dialer{Address: "host:1", Username: "anna", Password: "s3cret"}, true},
		{"SOCKS5://[2001:db8::1]", &socks5.Dialer{Address: "[2001:db8::1]:1080"}, true},
		{"socks5h://host", &socks5.Dialer{Address: "host:1080"}, true},
		{"socks5://a%40b:c%2Fd@host#comment", &socks5.Dialer{Address: "host:1080", Username: "a@b", Password: "c/d"}, true},
		{"socks5:///run/proxy.sock", &socks5.Dialer{Address: "/run/proxy.sock"}, true},
		{"socks5:///@name", &socks5.Dialer{Address: "@name"}, true},
		{"socks5://anna:s3cret@/run/x", &socks5.Dialer{Address: "/run/x", Username: "anna", Password: "s3cret"}, true},
		{"socks5://h?pipeline=1&pool=16&pool-idle=5s&timeout=3s&announce=true",
			&socks5.Dialer{Address: "h:1080", Pipeline: true, Pool: 16, PoolIdle: 5 * time.Second, Timeout: 3 * time.Second, Announce: true}, true},
		{"socks5://h?timeout=0", &socks5.Dialer{Address: "h:1080", Timeout: -1}, true},
		{"socks5://anna@h?password-file=" + file, &socks5.Dialer{Address: "h:1080", Username: "anna", Password: "s3cret"}, true},
		{"socks5://h?password-env=PW&user-env=WHO", &socks5.Dialer{Address: "h:1080", Username: "anna", Password: "hunter2"}, true},
		{"socks4://anna@host", &socks4.Dialer{Address: "host:1080", User: "anna"}, false},
		{"socks4a://host:1", &socks4.Dialer{Address: "host:1", Names: true}, false},
		{"http://host", &httpconnect.Dialer{Address: "host:80"}, false},
		{"http:///run/x", &httpconnect.Dialer{Address: "/run/x"}, false},
		{"http://anna:s3cret@host:3128/", &httpconnect.Dialer{Address: "host:3128", Username: "anna", Password: "s3cret"}, false},
		{"relay://anna:s3cret@host:1?nodelay=true", &gostrelay.Dialer{Address: "host:1", Username: "anna", Password: "s3cret"}, true},
	} {
		o, err := Parse(tc.raw, Base{Dialer: base, LookupEnv: env})
		if err != nil {
			t.Errorf("%s: %v", tc.raw, err)
			continue
		}
		switch d := o.Dialer.(type) {
		case *socks5.Dialer:
			if d.Dialer != outbound.Dialer(base) || d.PacketListener != outbound.PacketListener(base) {
				t.Errorf("%s: not over the base", tc.raw)
			}
			d.Dialer, d.PacketListener = nil, nil
		case *socks4.Dialer:
			d.Dialer = nil
		case *httpconnect.Dialer:
			d.Dialer = nil
		case *gostrelay.Dialer:
			d.Dialer = nil
		}
		if !reflect.DeepEqual(o.Dialer, tc.want) {
			t.Errorf("%s: %+v, want %+v", tc.raw, o.Dialer, tc.want)
		}
		if udp := o.PacketListener != nil; udp != tc.udp {
			t.Errorf("%s: carries datagrams: %v", tc.raw, udp)
		}
		if o.String() != Redact(tc.raw) {
			t.Errorf("%s: %s", tc.raw, o)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	o, err := Parse("https://h?insecure=true&sni=other.example", Base{})
	if err != nil {
		t.Fatal(err)
	}
	if d := o.Dialer.(*httpconnect.Dialer); d.Address != "h:443" || !d.TLS.InsecureSkipVerify || d.TLS.ServerName != "other.example" {
		t.Errorf("%+v %+v", d, d.TLS)
	}
}

// TestParseShadowsocks: the three ways to write one.
func TestParseShadowsocks(t *testing.T) {
	for _, raw := range []string{
		"ss://aes-128-gcm:s3cret%2F@host:8388",
		"ss://YWVzLTEyOC1nY206czNjcmV0Lw@host:8388",
		"ss://YWVzLTEyOC1nY206czNjcmV0Lw==@host:8388/#name",
		"ss://YWVzLTEyOC1nY206czNjcmV0Lw%3D%3D@host:8388",
		"ss://YWVzLTEyOC1nY206czNjcmV0L0Bob3N0OjgzODg=#a%20name",
	} {
		o, err := Parse(raw, Base{})
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		d := o.Dialer.(*shadowsocks.Dialer)
		if d.Address != "host:8388" || d.Method != "aes-128-gcm" || d.Password != "s3cret/" || o.PacketListener != outbound.PacketListener(d) {
			t.Errorf("%s: %s %s %s", raw, d.Address, d.Method, d.Password)
		}
		if strings.Contains(o.String(), "YWVz") || strings.Contains(o.String(), "s3cret") {
			t.Errorf("%s prints %s", raw, o)
		}
	}
	o, err := Parse("ss://aes-128-gcm@host:1?password-env=PW&udp=false", Base{LookupEnv: env})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := o.Dialer.(outbound.PacketListener); ok || o.PacketListener != nil {
		t.Errorf("a %T carries datagrams", o.Dialer)
	}
}

// TestNoDatagrams: what is to carry none is no PacketListener, whomever one asks, but
// can still be early.
func TestNoDatagrams(t *testing.T) {
	for raw, early := range map[string]bool{
		"socks5://h?udp=false": true, "relay://h:1?udp=false": true, "http://h socks5://h": true, "ss://aes-128-gcm:s3cret@h:1?udp=false": false, "ssh://a:b@h?insecure=1 ss://aes-128-gcm:s3cret@h:1": false,
	} {
		o, err := Parse(raw, Base{})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := o.Dialer.(outbound.PacketListener); ok || o.PacketListener != nil {
			t.Errorf("%s: a %T carries datagrams", raw, o.Dialer)
		}
		if _, ok := o.Dialer.(outbound.EarlyDialer); ok != early {
			t.Errorf("%s: early is %v", raw, ok)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestParseSSH: over a real server, by a key in a file, behind another proxy.
func TestParseSSH(t *testing.T) {
	s := realproxy.NewSSHD(t)
	raw := "socks5://" + realproxy.Microsocks(t, "", "") + " ssh://" + s.User + "@" + s.Address + "?key-file=" + s.Key + "&known-hosts=" + s.KnownHosts
	o, err := Parse(raw, Base{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := o.Dialer.(*sshtunnel.Dialer); !ok || o.PacketListener != nil {
		t.Errorf("a %T", o.Dialer)
	}
	c, err := o.Dialer.DialContext(fakeproxy.Soon(t), "tcp", realproxy.Echo(t, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	o.EndVia(func(netip.Addr, int) bool { asked++; return false })
	if asked != 1 {
		t.Errorf("asked about %d connections that are kept, want 1", asked)
	}
	if err := o.Retire(); err != nil {
		t.Error(err)
	}
	fakeproxy.WantEcho(t, c)
	_ = c.Close()
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

// TestParseErrors: each is one line that says what and where, and no secret.
func TestParseErrors(t *testing.T) {
	dir := t.TempDir()
	empty, large := filepath.Join(dir, "empty"), filepath.Join(dir, "large")
	for name, size := range map[string]int{empty: 0, large: maxFile + 1} {
		if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte("s3cret hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ raw, want string }{
		{"", "nothing"},
		{"socks5://", "no host"},
		{"socks5://:1080", "no host"},
		{"gopher://h", "no scheme"},
		{"direct://h", "no host"},
		{"reject://?answer=nonsense", "option answer"},
		{"socks5://h direct://", "behind"},
		{"socks5://h reject://", "behind"},
		{"socks5://h http://", "no host"},
		{"socks5://h:port", "port is a number"},
		{"socks5://h:0", "port"},
		{"socks5://h:65536", "port"},
		{"socks5://h/path", "path"},
		{"socks5://anna:s3cret/x@h", "%2F"},
		{"socks5://anna:s3cret%zz@h", "%25"},
		{"socks5://:s3cret@h", "no user name"},
		{"socks5://a:" + strings.Repeat("s3cret", 50) + "@h", "255"},
		{"socks5://h?pool=nonsense", "option pool is a number"},
		{"socks5://h?pool=-1", "option pool is a number"},
		{"socks5://h?pool=", "no value"},
		{"socks5://h?pool=1&pool=2", "more than once"},
		{"socks5://h?pipeline=nonsense", "option pipeline is true or false"},
		{"socks5://h?timeout=nonsense", "option timeout is a duration"},
		{"socks5://h?pool-idle=0", "pool-idle"},
		{"socks5://h?poool=1", `no option "poool" here; there are announce,`},
		{"socks5://h?password=s3cret", `no option "password"`},
		{"direct://?x=s3cret", `no option "x"`},
		{"socks5://h?%zz=s3cret", "query"},
		{"socks5://anna@h?password-file=" + dir + "/none", "no such file"},
		{"socks5://anna@h?password-file=" + empty, "empty"},
		{"socks5://anna@h?password-file=" + large, "bytes"},
		{"socks5://anna@h?password-env=NONE", "not set"},
		{"socks5://anna:s3cret@h?password-env=PW", "more than once"},
		{"socks4://anna:s3cret@h", "no password"},
		{"http://h?udp=false", `no option "udp"`},
		{"https://h?ca-file=" + large, "bytes"},
		{"ss://aes-128-gcm:s3cret@h", "no port"},
		{"ss://rc4-md5:s3cret@h:1", "no such method"},
		{"ss://2022-blake3-aes-128-gcm:s3cret@h:1", "2022"},
		{"ss://h:1", "no password"},
		{"ss://czNjcmV0", "no port"},
		{"ss://aes-128-gcm:s3cret@h:1?plugin=obfs-local", "plugins"},
		{"ssh://h", "no user name"},
		{"ssh://anna@h", "neither"},
		{"ssh://anna:s3cret@h?known-hosts=" + dir + "/none", "no such file"},
		{"ssh://anna:s3cret@h?fingerprint=MD5:00", "SHA256"},
		{"ssh://anna@h?insecure=1&key-file=" + large, "bytes"},
		{"ssh://anna@h?insecure=1&key-file=" + garbage, "private key"},
		{"ssh://anna@h?insecure=1&passphrase-env=PW&key-file=" + garbage, "passphrase"},
		{"relay://h", "no port"},
	} {
		o, err := Parse(tc.raw, Base{LookupEnv: env})
		if err == nil {
			t.Errorf("%q is %v", tc.raw, o)
			continue
		}
		if !strings.HasPrefix(err.Error(), "proxyurl: "+Redact(tc.raw)+": ") || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.raw, err, tc.want)
		}
		leaks(t, tc.raw, err)
	}
}

// TestOptionNames: Redact knows the options that there are.
func TestOptionNames(t *testing.T) {
	known := make(map[string]bool)
	for _, scheme := range []string{"direct", "reject", "socks5", "socks4", "http", "https", "ss", "ssh", "relay"} {
		h, err := newHop(scheme+"://u:p@h:1", Base{})
		if err != nil {
			t.Fatal(err)
		}
		if scheme == "direct" || scheme == "reject" {
			h.host, h.user = "", ""
		}
		_ = h.build(new(Outbound), false) // asks for its options
		maps.Copy(known, h.known)
	}
	if got := slices.Sorted(maps.Keys(known)); !slices.Equal(got, optionNames) {
		t.Errorf("there are %q, Redact knows %q", got, optionNames)
	}
}

// TestDialErrors: nor do errors of dials show any.
func TestDialErrors(t *testing.T) {
	hear := fakeproxy.Serve(t, func(c *net.TCPConn) {
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		_, _ = c.Write(b[:n]) // they hear their own words
	})
	closed := realproxy.Closed(t)
	for _, scheme := range schemesWithPassword {
		for _, address := range []string{hear, closed, "name.invalid:1"} {
			raw := fmt.Sprintf("%s://%s:s3cret@%s?timeout=200ms%s", scheme.name, scheme.user, address, scheme.options)
			o, err := Parse(raw, Base{})
			if err != nil {
				t.Fatal(err)
			}
			c, err := o.Dialer.DialContext(fakeproxy.Soon(t), "tcp", "192.0.2.1:80")
			if err == nil { // Shadowsocks hears of nothing until it reads
				_ = c.SetDeadline(time.Now().Add(fakeproxy.Patience))
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			if err == nil {
				t.Errorf("%s at %s is no error", scheme.name, address)
				continue
			}
			leaks(t, scheme.name+" at "+address, err)
			if err := o.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

var schemesWithPassword = []struct{ name, user, options string }{
	{"socks5", "anna", ""}, {"socks5", "anna", "&pipeline=true"}, {"http", "anna", ""}, {"https", "anna", "&insecure=true"},
	{"ss", "aes-128-gcm", ""}, {"ssh", "anna", "&insecure=true"}, {"relay", "anna", ""},
}

// TestChain: through one real proxy to another, and the end of one says which.
func TestChain(t *testing.T) {
	dante, tiny := realproxy.Dante(t, true), realproxy.Tinyproxy(t, "bob", "hunter2")
	other := realproxy.Dante(t, true) // for one does not serve itself
	echo := realproxy.Echo(t, "127.0.0.1:0")
	for _, raw := range []string{
		"socks5://anna:s3cret@" + dante + " http://bob:hunter2@" + tiny,
		"http://bob:hunter2@" + tiny + " anna:s3cret@" + dante,
		"http://bob:hunter2@" + tiny + " socks5://anna:s3cret@" + dante,
		"socks5://anna:s3cret@" + dante + " socks5://anna:s3cret@" + other,
	} {
		o, err := Parse(raw, Base{})
		if strings.Contains(raw, " anna") { // a URL of a chain has a scheme
			if err == nil {
				t.Errorf("%s is %v", raw, o)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := o.Dialer.DialContext(fakeproxy.Soon(t), "tcp", echo)
		if err != nil {
			t.Fatal(err)
		}
		fakeproxy.WantEcho(t, c)
		_ = c.Close()
		if udp := o.PacketListener != nil; udp == strings.Contains(raw, "http://") {
			t.Errorf("%s carries datagrams: %v", raw, udp)
		}
		_ = o.Close()
	}
	o, err := Parse("socks5://anna:s3cret@"+dante+" socks5://"+realproxy.Closed(t), Base{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.Dialer.DialContext(fakeproxy.Soon(t), "tcp", echo)
	if errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, outbound.ErrProxy) {
		t.Errorf("the second proxy is down: %v, want ErrProxy, and not ECONNREFUSED", err)
	}
}

// TestChainUDP: datagrams through two proxies.
func TestChainUDP(t *testing.T) {
	one, other := realproxy.Dante(t, true), realproxy.Dante(t, true)
	o, err := Parse("socks5://anna:s3cret@"+one+" socks5://anna:s3cret@"+other, Base{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	pc, err := o.PacketListener.ListenPacket(fakeproxy.Soon(t), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	echo := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(realproxy.EchoUDP(t, "127.0.0.1:0")))
	if _, err := pc.WriteTo([]byte("hello"), echo); err != nil {
		t.Fatal(err)
	}
	_ = pc.SetReadDeadline(time.Now().Add(fakeproxy.Patience))
	b := make([]byte, 100)
	if n, from, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "hello" || from.String() != echo.String() {
		t.Errorf("%q from %v, %v", b[:n], from, err)
	}
}

// TestNames: the proxy's name is looked up once, then again when no address answers,
// and what was known is kept if nobody knows better.
func TestNames(t *testing.T) {
	asked := 0
	var known []netip.Addr
	lookup := func(_ context.Context, network, host string) ([]netip.Addr, error) {
		asked++
		if network != "ip" || host != "proxy.example" {
			t.Errorf("asked for %s %s", network, host)
		}
		if known == nil {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return known, nil
	}
	var dialled []string
	base := fakeproxy.Dialer(func(_ context.Context, network, address string) (net.Conn, error) {
		dialled = append(dialled, network+" "+address)
		return nil, syscall.ECONNREFUSED
	})
	o, err := Parse("socks5://proxy.example:99", Base{Dialer: base, Lookup: lookup})
	if err != nil || asked != 0 {
		t.Fatalf("%v, asked %d times", err, asked)
	}
	if err := o.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "proxy.example") {
		t.Errorf("%v: an unknown name is no error", err)
	}
	known = []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}
	if err := o.Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := o.Addresses(); !reflect.DeepEqual(got, known) {
		t.Errorf("Addresses: %v", got)
	}
	dial := func() {
		dialled = nil
		if _, err := o.Dialer.DialContext(fakeproxy.Soon(t), "tcp", "192.0.2.9:80"); !errors.Is(err, outbound.ErrProxy) {
			t.Errorf("%v, want ErrProxy", err)
		}
	}
	want := []string{"tcp [2001:db8::1]:99", "tcp 192.0.2.1:99"}
	asked = 0
	for range 3 {
		dial()
	}
	if asked != 0 || !reflect.DeepEqual(dialled, want) {
		t.Errorf("asked %d times, dialled %q, want 0, %q", asked, dialled, want)
	}
	n := o.names[0]
	n.asked = n.asked.Add(-askAgain) // time passes
	known = nil
	dial()
	if asked != 1 || !reflect.DeepEqual(dialled, want) {
		t.Errorf("asked %d times, dialled %q, want 1, %q", asked, dialled, want)
	}
	known = []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	dial()
	if want := []string{"tcp 192.0.2.7:99"}; asked != 2 || !reflect.DeepEqual(dialled, want) {
		t.Errorf("asked %d times, dialled %q, want 2, %q", asked, dialled, want)
	}
	plain, err := Parse("socks5://192.0.2.1 http://other.example", Base{Lookup: lookup})
	if err != nil || plain.Resolve(t.Context()) != nil || len(plain.Addresses()) != 1 {
		t.Errorf("%v: addresses %v", err, plain.Addresses())
	}
}

// TestNamesPrefer: an address that has answered is the first to be dialled.
func TestNamesPrefer(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	var dialled []string
	base := fakeproxy.Dialer(func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		if address != "192.0.2.1:99" {
			return nil, syscall.EHOSTUNREACH
		}
		near, far := net.Pipe()
		_ = far.Close()
		return near, nil
	})
	o, err := Parse("socks5://proxy.example:99", Base{Dialer: base, Lookup: func(context.Context, string, string) ([]netip.Addr, error) { return addrs, nil }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, _ = o.Dialer.DialContext(fakeproxy.Soon(t), "tcp", "192.0.2.9:80") // the pipe is no proxy
	}
	if want := []string{"[2001:db8::1]:99", "192.0.2.1:99", "192.0.2.1:99"}; !reflect.DeepEqual(dialled, want) {
		t.Errorf("dialled %q, want %q", dialled, want)
	}
	if got := o.Addresses(); len(got) != 3 || addrs[0].Is4() {
		t.Errorf("%v of %v", got, addrs)
	}
}

// FuzzParse: an outbound or an error; an outbound prints no credential and closes.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"direct://", "reject://?answer=silence", "socks5://a:b@h:1?pool=3&timeout=1s", "http:///run/x", "https://h?sni=x",
		"socks4a://u@h", "ss://YWVzLTEyOC1nY206cHdAaG9zdDox#n", "ss://aes-128-gcm:pw@h:1", "ssh://u:p@h?insecure=true", "relay://a:b@h:1 socks5://h",
		"h?user-env=PW&password-env=PW",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.Contains(raw, "-file=") || strings.Contains(raw, "hosts") || strings.Contains(raw, "%") {
			return // no files of this host
		}
		o, err := Parse(raw, Base{LookupEnv: env})
		if (o == nil) == (err == nil) {
			t.Fatalf("%q: %v, %v", raw, o, err)
		}
		if err == nil {
			if o.Dialer == nil || o.String() != Redact(raw) {
				t.Errorf("%q: %v", raw, o)
			}
			_ = o.Close()
		}
	})
}
