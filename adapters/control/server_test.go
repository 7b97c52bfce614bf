package control

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"l3extract/adapters/forward"
	"l3extract/stack"
)

// TestServer looks at a stack by every page.
func TestServer(t *testing.T) {
	r := newRig(t)
	s := &Server{
		Stack: r.stack, Forward: new(forward.Server), Causes: &r.causes, Version: "v-test", Pprof: true,
		Describe: func(f stack.Flow) (string, string) {
			if f.Destination.Port() == 443 {
				return "www.example.com", "work"
			}
			return "", "direct"
		},
		Extra:  func() map[string]any { return map[string]any{"dns": struct{ Queries, CacheHits uint64 }{7, 3}} },
		Config: func() []byte { return []byte("device: tun7\n") },
	}
	c, path := onUnix(t, s)
	if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", fi.Mode(), err)
	}
	web := r.dial(t, "192.0.2.1:443", 1000)
	r.dial(t, "192.0.2.2:22", 5)
	r.dial(t, "[2001:db8::1]:80", 70)

	for _, tc := range []struct {
		query Query
		ports []uint16
	}{
		{Query{}, []uint16{443, 22, 80}},
		{Query{Sort: "new"}, []uint16{80, 22, 443}},
		{Query{Sort: "bytes"}, []uint16{443, 80, 22}},
		{Query{Sort: "bytes", Limit: 1}, []uint16{443}},
		{Query{Port: 22}, []uint16{22}},
		{Query{Network: "udp"}, nil},
		{Query{Destination: netip.MustParsePrefix("192.0.2.0/24")}, []uint16{443, 22}},
		{Query{Source: netip.MustParsePrefix("fd00::/16")}, []uint16{80}},
		{Query{Name: "example.com"}, []uint16{443}},
		{Query{Name: "ample.com"}, nil},
		{Query{Outbound: "direct"}, []uint16{22, 80}},
	} {
		got, err := c.Flows(t.Context(), tc.query)
		if err != nil {
			t.Fatal(err)
		}
		var ports []uint16
		for _, f := range got.Flows {
			ports = append(ports, f.Destination.Port())
		}
		if got.Live != 3 || tc.query.Limit == 0 && got.Matched != len(tc.ports) || !equal(ports, tc.ports) {
			t.Errorf("%+v: %d live, %d matched, ports %v, want %v", tc.query, got.Live, got.Matched, ports, tc.ports)
		}
	}

	all, _ := c.Flows(t.Context(), Query{Port: 443})
	id := all.Flows[0].ID
	if f := all.Flows[0]; f.In != 1000 || f.Out != 1000 || f.Name != "www.example.com" || f.Outbound != "work" || f.State == "" {
		t.Errorf("the flow is %+v", f)
	}
	if err := c.Kill(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := web.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a killed flow reads %v", err)
	}
	if err := c.Kill(t.Context(), id); !errors.Is(err, ErrNoFlow) {
		t.Errorf("killed twice: %v", err)
	}

	st, err := c.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Version != "v-test" || st.Stack.Flows != 2 || st.Ended["tcp"]["killed"] != 1 || st.Forward == nil || st.Process.Heap == 0 {
		t.Errorf("the stats are %+v", st)
	}

	for page, want := range map[string]string{
		"/config":                  "device: tun7",
		"/metrics":                 "l3extract_flows_ended_total{cause=\"killed\",network=\"tcp\"} 1",
		"/metrics?x":               "l3extract_stack_flows 2",
		"/metrics?y":               "l3extract_dns_cache_hits_total 3",
		"/metrics?z":               "l3extract_forward_dials_failed_total 0",
		"/metrics?a":               "l3extract_build_info{version=\"v-test\"} 1",
		"/debug/pprof/":            "goroutine",
		"/debug/pprof/heap":        "",
		"/debug/pprof/cmdline":     "404",
		"/flows/999":               "no such flow",
		"/flows/x":                 "no such flow",
		"/nothing":                 "404",
		"/flows?limit=10001":       "limit=10001: want 1 to 10000",
		"/flows?colour=red":        "there is no such filter",
		"/flows?source=everywhere": "source=everywhere: ",
		"/flows?sort=size":         "want id, new or bytes",
	} {
		if got := get(t, path, page); !strings.Contains(got, want) {
			t.Errorf("%s: %.300s, want %s", page, got, want)
		}
	}
}

func equal(a, b []uint16) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// get returns what a page on the socket answers.
func get(t *testing.T, path, page string) string {
	t.Helper()
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Get("http://localhost" + page)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSwitches: what is not asked for is not there.
func TestSwitches(t *testing.T) {
	_, path := onUnix(t, &Server{Stack: newRig(t).stack})
	for _, page := range []string{"/config", "/debug/pprof/", "/debug/pprof/heap"} {
		if got := get(t, path, page); !strings.Contains(got, "404") {
			t.Errorf("%s: %.80s", page, got)
		}
	}
}

// TestWhoMayAsk goes through requests over TCP.
func TestWhoMayAsk(t *testing.T) {
	r := newRig(t)
	s := &Server{Stack: r.stack, Token: "sesame", Hosts: []string{"box.example"}}
	ln, err := Listen("http://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	serve(t, s, ln)
	const right = "Authorization: Bearer sesame\r\n"
	for _, tc := range []struct {
		name, line, host, headers string
		code                      string
	}{
		{"right", "GET /stats", addr, right, "200"},
		{"scheme in small letters", "GET /stats", addr, "Authorization: bearer sesame\r\n", "200"},
		{"no token", "GET /stats", addr, "", "401"},
		{"wrong token", "GET /stats", addr, "Authorization: Bearer sesam\r\n", "401"},
		{"longer token", "GET /stats", addr, "Authorization: Bearer sesame1\r\n", "401"},
		{"empty token", "GET /stats", addr, "Authorization: Bearer \r\n", "401"},
		{"other scheme", "GET /stats", addr, "Authorization: Basic sesame\r\n", "401"},
		{"token in the URL", "GET /stats?token=sesame", addr, "", "401"},
		{"kill without token", "DELETE /flows/1", addr, "", "401"},
		{"kill nobody", "DELETE /flows/1", addr, right, "404"},
		{"DNS rebinding", "GET /stats", "evil.example:" + port, right, "421"},
		{"DNS rebinding without a port", "GET /stats", "evil.example", right, "421"},
		{"a name like localhost", "GET /stats", "localhost.evil.example", right, "421"},
		{"localhost", "GET /stats", "localhost:" + port, right, "200"},
		{"an address", "GET /stats", "[::1]:" + port, right, "200"},
		{"a name that is allowed", "GET /stats", "Box.Example", right, "200"},
		{"another origin", "GET /stats", addr, right + "Origin: http://evil.example\r\n", "403"},
		{"null origin", "GET /stats", addr, right + "Origin: null\r\n", "403"},
		{"own origin", "GET /stats", addr, right + "Origin: http://" + addr + "\r\n", "200"},
		{"cross-site", "GET /stats", addr, right + "Sec-Fetch-Site: cross-site\r\n", "403"},
		{"preflight", "OPTIONS /flows/1", addr, "Origin: http://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n", "403"},
		{"body", "GET /stats", addr, right + "Content-Length: 1\r\n", "413"},
		{"huge header", "GET /stats", addr, right + "X: " + strings.Repeat("x", 64<<10) + "\r\n", "431"},
		{"huge path", "GET /" + strings.Repeat("x", 64<<10), addr, right, "431"},
		{"other method", "POST /stats", addr, right, "405"},
		{"no page", "GET /", addr, right, "404"},
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(c, tc.line+" HTTP/1.1\r\nHost: "+tc.host+"\r\n"+tc.headers+"Connection: close\r\n\r\n") // ends with c
		b, _ := io.ReadAll(c)                                                                                     // a reset comes behind the answer to what was not read
		c.Close()
		head, _, _ := strings.Cut(string(b), "\r\n")
		if !strings.HasPrefix(head, "HTTP/1.1 "+tc.code) {
			t.Errorf("%s: %q, want %s", tc.name, head, tc.code)
		}
		if strings.Contains(string(b), "Access-Control") || strings.Contains(string(b), "sesame") {
			t.Errorf("%s: %s", tc.name, b)
		}
	}
	if err := (&Server{Stack: r.stack}).Serve(t.Context(), must(net.Listen("tcp", "127.0.0.1:0"))); !errors.Is(err, errNoToken) {
		t.Errorf("TCP without a token: %v", err)
	}
	c, err := NewClient("http://"+addr, "wrong")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Stats(t.Context()); err == nil || !strings.Contains(err.Error(), "the token is missing or wrong") {
		t.Errorf("the Client says %v", err)
	}
}

func must(ln net.Listener, err error) net.Listener {
	if err != nil {
		panic(err)
	}
	return ln
}

// TestSilentClient: who says nothing holds nothing up at the end.
func TestSilentClient(t *testing.T) {
	ln := must(Listen("unix://" + filepath.Join(t.TempDir(), "s")))
	serve(t, &Server{Stack: newRig(t).stack}, ln)
	for range maxConns + 3 {
		c, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
}

// TestServeFails: a listener that breaks is the error of Serve.
func TestServeFails(t *testing.T) {
	if err := (&Server{Stack: newRig(t).stack}).Serve(t.Context(), broken{}); !errors.Is(err, errTest) {
		t.Errorf("got %v", err)
	}
}

type broken struct{}

func (broken) Accept() (net.Conn, error) { return nil, errTest }
func (broken) Close() error              { return nil }
func (broken) Addr() net.Addr            { return &net.UnixAddr{} }

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	first := must(Listen("unix://" + path))
	if _, err := Listen("unix://" + path); err == nil {
		t.Error("a socket that is used was taken")
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	first.Close()
	second, err := Listen("unix://" + path) // what a program that was killed has left
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"unix://" + file, "unix://host/path", "ftp://x", "http://127.0.0.1", "http://joe:sesame@127.0.0.1:0", "://sesame", "/path"} {
		ln, err := Listen(address)
		if err == nil {
			ln.Close()
			t.Errorf("%s: no error", address)
		} else if strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", address, err)
		}
		if _, err := NewClient(address, ""); err == nil && !strings.HasPrefix(address, "unix:///") {
			t.Errorf("a Client for %s", address)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("a file was removed")
	}
}

func TestSnake(t *testing.T) {
	for in, want := range map[string]string{
		"DialsFailed": "dials_failed", "TCP": "tcp", "UDPSockets": "udp_sockets", "PacketsIn": "packets_in", "fake-ip": "fake_ip", "a.b/é": "a_b__", "ID": "id",
	} {
		if got := snake(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestCauseOf(t *testing.T) {
	for want, err := range map[string]error{"closed": nil, "idle": stack.Idle, "other": errTest, "policy": &forward.PolicyError{}} {
		if got := CauseOf(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

// FuzzQuery: what a Query is written as is read as the same.
func FuzzQuery(f *testing.F) {
	f.Add("network=tcp&source=10.0.0.0/8&destination=::1&port=443&name=A.example.&outbound=x&sort=new&limit=5")
	f.Add("limit=0&x=y")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := http.NewRequest(http.MethodGet, "http://h/flows", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.RawQuery = s
		q, err := parseQuery(r.URL.Query())
		if err != nil {
			return
		}
		r.URL.RawQuery = q.encode()
		again, err := parseQuery(r.URL.Query())
		if err != nil || again != q {
			t.Errorf("%q: %+v, then %+v, %v", s, q, again, err)
		}
	})
}
