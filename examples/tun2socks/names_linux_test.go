package main

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
)

// TestFakeAddresses: a name gets an address that stands for it, the proxy resolves the name,
// and the address means the same after a restart.
func TestFakeAddresses(t *testing.T) {
	w := newWorld(t, "dig", "microsocks")
	hosts := file(t, "hosts", srv4+" www.fake.test\n") // of the proxy alone
	w.daemon(t, "unshare", "-m", "sh", "-c", `mount --bind "$1" /etc/hosts && exec microsocks -i 127.0.0.1 -p 1080`, "sh", hosts)
	w.awaitPort(t, "127.0.0.1:1080")
	names := filepath.Join(t.TempDir(), "names")
	config := file(t, "t.yaml", "proxy: socks5://127.0.0.1:1080\nloglevel: debug\n"+
		"dns: {servers: ['tcp://"+srv4+"'], fake-ip: true, fake-ip-file: "+names+"}\n")

	program := w.start(t, "-config", config)
	fake := strings.TrimSpace(w.must(t, "dig", "+short", "+time=5", "+tries=1", "@203.0.113.53", "www.fake.test"))
	if a, err := netip.ParseAddr(fake); err != nil || !netip.MustParsePrefix("198.18.0.0/15").Contains(a) {
		t.Fatalf("the address is %q", fake)
	}
	if got := w.there.fetch(t, "http://"+fake+"/body"); got != w.sum {
		t.Errorf("by a fake address: SHA-256 %s, want %s", got, w.sum)
	}
	program.await(t, "name=www.fake.test via=proxy")
	if out, err := w.client(t, "curl", "-sS", "--max-time", "10", "http://198.19.255.7/"); err == nil || !strings.Contains(out, "(7)") {
		t.Errorf("a fake address without a name: %v, %s", err, out)
	}
	program.await(t, `cause="fake address without a name"`)
	program.stop(t)

	program = w.start(t, "-config", config)
	if got := w.there.fetch(t, "http://"+fake+"/body"); got != w.sum {
		t.Errorf("after a restart: SHA-256 %s, want %s", got, w.sum)
	}
	program.stop(t)
}
