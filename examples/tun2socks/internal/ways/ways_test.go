package ways

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"l3extract/adapters/outbound"
	"l3extract/adapters/router"
	"l3extract/examples/tun2socks/internal/config"
	"l3extract/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

func conf(proxy string, outbounds ...config.Outbound) *config.Config {
	c := config.Default()
	c.Proxy, c.Outbounds = config.URL(proxy), outbounds
	return c
}

// TestReuse: a reload takes over the outbounds whose URL stays, and closes only the others.
func TestReuse(t *testing.T) {
	first, err := New(conf("socks5://127.0.0.1:1", config.Outbound{Name: "a", URL: "http://127.0.0.1:2"},
		config.Outbound{Name: "s", URL: "ssh://u:p@127.0.0.1:3?insecure=true"}), nil, quiet, false)
	if err != nil {
		t.Fatal(err)
	}
	second, err := New(conf("a", config.Outbound{Name: "a", URL: "http://127.0.0.1:2"}, config.Outbound{Name: "b", URL: "socks5://127.0.0.1:1"}), first, quiet, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://127.0.0.1:2", "socks5://127.0.0.1:1", "direct://"} {
		if first.byURL[url] == nil || first.byURL[url] != second.byURL[url] {
			t.Errorf("%s is not the same: %p, %p", url, first.byURL[url], second.byURL[url])
		}
	}
	left := first.CloseBut(second)
	if len(left) != 1 || !strings.HasPrefix(left[0].String(), "ssh://") {
		t.Errorf("left to their flows: %v", left)
	}
	for _, o := range left {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	second.Close()
	if _, err := New(conf("socks5://127.0.0.1:1", config.Outbound{Name: "x", URL: "nothing://"}), second, quiet, false); err == nil {
		t.Error("a scheme that there is not")
	}
}

// TestRules: what the file says is what the router does.
func TestRules(t *testing.T) {
	c := conf("reject://", config.Outbound{Name: "a", URL: "socks5://127.0.0.1:1", Username: "joe", Password: "x@/ y"},
		config.Outbound{Name: "f", Failover: []string{"a", "direct"}, CheckAddress: "192.0.2.1:1"})
	c.Rules = []config.Rule{
		{Network: "tcp", To: []config.Prefix{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}, Ports: []config.Ports{{First: 80, Last: 90}}, Outbound: "a"},
		{From: []config.Prefix{{Prefix: netip.MustParsePrefix("192.0.2.7/32")}}, Outbound: "direct"},
		{Domain: []string{".example.com"}, Outbound: "f"},
	}
	w, err := New(c, nil, quiet, true)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if w.byURL["socks5://joe:x%40%2F%20y@127.0.0.1:1"] == nil {
		t.Errorf("the credentials are not in the URL")
	}
	r, err := router.New(w.WithDNS(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		f    outbound.Flow
		want string
	}{
		{outbound.Flow{Network: "tcp", Destination: netip.MustParseAddrPort("10.1.2.3:85")}, "a"},
		{outbound.Flow{Network: "udp", Destination: netip.MustParseAddrPort("10.1.2.3:85")}, "proxy"},
		{outbound.Flow{Network: "tcp", Destination: netip.MustParseAddrPort("10.1.2.3:91")}, "proxy"},
		{outbound.Flow{Network: "tcp", Source: netip.MustParseAddrPort("192.0.2.7:1"), Destination: netip.MustParseAddrPort("1.1.1.1:1")}, "direct"},
		{outbound.Flow{Network: "tcp", Destination: netip.MustParseAddrPort("1.1.1.1:1"), Name: "www.example.com"}, "f"},
	} {
		if _, got := r.Find(tc.f); got != tc.want {
			t.Errorf("%+v goes by %q, want %q", tc.f, got, tc.want)
		}
	}
}
