package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"l3extract/examples/internal/netnstest"
)

// TestTap: the kernel is the guest, behind a tap that was moved to a namespace of its own.
// A real DHCP client gets an address, the kernel makes one of IPv6, and with what they
// were told names are resolved and pages fetched.
func TestTap(t *testing.T) {
	netnstest.NeedRoot(t, "ip", "busybox", "curl", "ping", "dig", "unshare")
	tap := fmt.Sprintf("vmt%d", os.Getpid()%1e6)
	w := newWorld(t, "-tap", tap, "-mtu", "1400", "-domain", "vm.test", "-drain", "2s")
	guest := netnstest.New(t)
	w.IP(t, "link set "+tap+" netns "+guest.Path())
	guest.IP(t, "link set lo up", "link set "+tap+" up")

	conf := filepath.Join(t.TempDir(), "resolv.conf")
	guest.Do(t, func() error {
		cmd := exec.CommandContext(t.Context(), "busybox", "udhcpc", "-f", "-q", "-n", "-t", "10", "-T", "1", "-i", tap,
			"-x", "hostname:tapguest", "-s", write(t, "script", leaseScript))
		cmd.Env = append(os.Environ(), "RESOLV="+conf)
		out, err := cmd.CombinedOutput()
		t.Logf("udhcpc:\n%s", out)
		return err
	})
	lease := w.log.Await(t, "msg=lease", "host=tapguest")
	addr := strings.TrimPrefix(fields(lease, "addr")[0], "addr=")
	if out := guest.Output(t, "ip", "addr", "show", "dev", tap); !strings.Contains(out, "inet "+addr+"/24 ") || !strings.Contains(out, "mtu 1400 ") {
		t.Errorf("want %s/24 and an MTU of 1400:\n%s", addr, out)
	}
	if got, want := config(t, conf), "nameserver 192.168.127.1\nsearch vm.test\n"; got != want {
		t.Errorf("resolv.conf: %q, want %q", got, want)
	}
	until(t, "an address of IPv6 by SLAAC", func() bool {
		out := guest.Output(t, "ip", "-6", "addr", "show", "dev", tap, "scope", "global")
		return strings.Contains(out, "inet6 fd6c:3365::") && !strings.Contains(out, "tentative")
	})
	if out := guest.Output(t, "ip", "-6", "route", "show", "default"); !strings.Contains(out, "via fe80::6c:33ff:fe65:1 dev "+tap) {
		t.Errorf("the default route of IPv6 is %q", out)
	}

	for _, host := range []string{"192.168.127.1", "fd6c:3365::1", "fe80::6c:33ff:fe65:1%" + tap, srv4, srv6} {
		if out := guest.Output(t, "ping", "-c", "2", "-i", "0.2", "-W", "5", host); !strings.Contains(out, " 0% packet loss") {
			t.Errorf("ping %s:\n%s", host, out)
		}
	}
	for _, server := range []string{"192.168.127.1", "fd6c:3365::1"} {
		if out := guest.Output(t, "dig", "+short", "+time=5", "@"+server, "www.test", "AAAA"); strings.TrimSpace(out) != srv6 {
			t.Errorf("dig @%s: %q", server, out)
		}
	}
	for _, family := range []string{"-4", "-6"} {
		cmd := withResolver(conf, "curl", "-sS", family, "--max-time", "20", "http://www.test/")
		if out := guest.Output(t, cmd.Args[0], cmd.Args[1:]...); out != page {
			t.Errorf("curl %s: %q", family, out)
		}
	}
	want := sha256.New()
	_, _ = io.Copy(want, body())
	for _, host := range []string{srv4, "[" + srv6 + "]"} {
		got, began := sha256.New(), time.Now()
		guest.Do(t, func() error {
			cmd := exec.CommandContext(t.Context(), "curl", "-sS", "--max-time", "120", "http://"+host+"/body")
			cmd.Stdout, cmd.Stderr = got, os.Stderr
			return cmd.Run()
		})
		if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
			t.Errorf("%s: SHA-256 %x, want %x", host, got.Sum(nil), want.Sum(nil))
		}
		t.Logf("curl %s: %.0f Mbit/s", host, float64(*bodySize)*8*(1<<20)/1e6/time.Since(began).Seconds())
	}
	w.end(t)
	w.log.Await(t, "msg=summary", "segments=1", "leases=1", "streams=4")
	if line := w.log.Await(t, "msg=ended"); strings.Contains(line, "Malformed") || strings.Contains(line, "Spoofed") {
		t.Errorf("what the kernel sends is wrong to us: %s", line)
	}
}
