package autoroute

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWays: where what goes, by "ip route get".
func TestWays(t *testing.T) {
	const lan = "lan0"
	for name, tc := range map[string]struct {
		cfg  Config
		want map[string]string // query: interface
	}{
		"default": {Config{}, map[string]string{
			"198.51.100.1":                 tunName,
			"2001:db8:2::1":                tunName,
			"198.51.100.1 mark 0x6c33":     lan,
			"2001:db8:2::1 mark 0x6c33":    lan,
			gw4:                            lan,
			gw6:                            lan,
			gw4 + " ipproto udp dport 53":  tunName,
			gw4 + " ipproto tcp dport 53":  tunName,
			gw4 + " ipproto tcp dport 853": tunName,
			gw6 + " ipproto udp dport 53":  tunName,
			gw4 + " ipproto udp dport 53 mark 0x6c33": lan,
			"192.0.2.2 ipproto udp dport 53":          "lo",
			"127.0.0.53 ipproto udp dport 53":         "lo",
			"224.0.0.251":                             lan, "255.255.255.255": lan, "ff02::fb": lan,
			"198.51.100.1 uid 1000":                        tunName,
			"198.51.100.1 ipproto tcp dport 443":           tunName,
			"198.51.100.1 from 192.0.2.2 ipproto tcp":      tunName,
			"2001:db8:2::1 from 2001:db8:1::2 ipproto tcp": tunName,
		}},
		"no LAN, no DNS": {Config{NoLAN: true, NoDNS: true}, map[string]string{
			gw4: tunName, gw6: tunName, gw4 + " mark 0x6c33": lan, gw6 + " mark 0x6c33": lan,
		}},
		"IPv4 only": {Config{Addrs: prefixes("10.200.0.1/30")}, map[string]string{
			"198.51.100.1": tunName, "2001:db8:2::1": "", "2001:db8:2::1 mark 0x6c33": lan, gw6: lan,
			gw6 + " ipproto udp dport 53": "",
		}},
		"IPv6 only": {Config{Addrs: prefixes("fd00::1/126")}, map[string]string{
			"198.51.100.1": "", "2001:db8:2::1": tunName, "198.51.100.1 mark 0x6c33": lan, gw4 + " ipproto tcp dport 853": "",
		}},
		"destinations": {
			Config{Include: prefixes("198.51.100.0/24", "2001:db8:2::/48"), Exclude: prefixes("198.51.100.7/32", "2001:db8:2::7/128"), NoDNS: true},
			map[string]string{
				"198.51.100.1": tunName, "198.51.100.7": lan, "203.0.113.1": lan,
				"2001:db8:2::1": tunName, "2001:db8:2::7": lan, "2001:db8:3::1": lan,
			},
		},
		"users": {
			Config{IncludeUIDs: []UIDRange{{1000, 1999}}, ExcludeUIDs: []UIDRange{{1500, 1500}}},
			map[string]string{
				"198.51.100.1 uid 1000": tunName, "198.51.100.1 uid 1500": lan, "198.51.100.1 uid 999": lan, "2001:db8:2::1 uid 1999": tunName,
				"2001:db8:2::1 uid 2000": lan, gw4 + " ipproto udp dport 53 uid 1000": tunName, gw4 + " ipproto udp dport 53 uid 1500": lan,
			},
		},
		"inbound": {Config{Inbound: true, Strict: true}, map[string]string{
			"198.51.100.1 ipproto tcp":                         tunName,
			"198.51.100.1 from 192.0.2.2 ipproto tcp":          lan,
			"198.51.100.1 from 172.19.83.1 ipproto tcp":        tunName,
			"198.51.100.1 from 192.0.2.2 ipproto udp":          tunName,
			"2001:db8:2::1 ipproto tcp":                        tunName,
			"2001:db8:2::1 from 2001:db8:1::2 ipproto tcp":     lan,
			"2001:db8:2::1 from fd6c:3365:7874::1 ipproto tcp": tunName,
			"198.51.100.1 from 192.0.2.2 ipproto tcp dport 53": tunName,
		}},
		"strict": {Config{Strict: true}, map[string]string{
			"2001:db8:2::1 oif lan0": "", gw4 + " oif lan0": lan, "198.51.100.1 oif lan0 mark 0x6c33": lan,
			gw6 + " oif lan0 ipproto udp dport 53": "",
		}},
		"routes that split the default one": {Config{}, map[string]string{"8.0.0.1": tunName, "2a00::1": tunName, "11.0.0.1": lan}},
	} {
		t.Run(name, func(t *testing.T) {
			host, _ := newHost(t)
			host.ip("route add 0.0.0.0/1 via "+gw4, "route add 2000::/3 via "+gw6, "route add 11.0.0.0/8 via "+gw4)
			before := host.snapshot()
			host.open(tunName)
			tc.cfg.StateDir = t.TempDir()
			r := host.mustSetup(tc.cfg)
			if tc.cfg.Strict && !host.onLink("198.51.100.1 oif lan0") {
				t.Error("a socket bound to the LAN is let to the gateway")
			}
			for query, want := range tc.want {
				if got := host.way(query); got != want {
					out, _ := host.run("ip rule")
					t.Errorf("%s goes by %q, want %q\n%s", query, got, want, out)
				}
			}
			host.do(func() {
				if err := errors.Join(r.Close(), r.Close()); err != nil {
					t.Error(err)
				}
				if tc.cfg.Strict {
					if err := Cleanup(&tc.cfg); err != nil {
						t.Error(err)
					}
				}
			})
			if after := host.snapshot(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// TestTwice: a second instance is refused with one line, whether it finds the first by
// its file or by its routes, and so is Cleanup. The first goes on.
func TestTwice(t *testing.T) {
	host, _ := newHost(t)
	host.open(tunName)
	host.open("l3other")
	dir := t.TempDir()
	first := host.mustSetup(Config{StateDir: dir})
	want := host.snapshot()
	for _, cfg := range []Config{{StateDir: dir}, {StateDir: dir, Device: "l3other"}, {StateDir: t.TempDir(), Device: "l3other"}} {
		_, err := host.setup(cfg)
		if !errors.Is(err, errBusy) || !strings.Contains(err.Error(), tunName) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	host.do(func() {
		if err := Cleanup(&Config{StateDir: dir}); !errors.Is(err, errBusy) {
			t.Error(err)
		}
	})
	if got := host.snapshot(); got != want {
		t.Errorf("changed from\n%s\nto\n%s", want, got)
	}
	host.do(func() { _ = first.Close() })
	host.mustSetup(Config{StateDir: dir, Device: "l3other"})
}

// TestKilled: what an instance that was killed leaves is taken over by the next, without
// a file too, and Cleanup removes it; with Strict nothing goes around in between.
func TestKilled(t *testing.T) {
	for _, strict := range []bool{false, true} {
		for _, file := range []bool{false, true} {
			host, _ := newHost(t)
			before := host.snapshot()
			dir := t.TempDir()
			cfg := Config{StateDir: dir, Strict: strict, Device: tunName}
			die := func(cfg Config) {
				dev := host.open(tunName)
				r := host.mustSetup(cfg)
				r.once.Do(func() {}) // it never gets to Close
				r.release()
				_ = dev.Close()
				if !file {
					if err := os.RemoveAll(dir); err != nil {
						t.Fatal(err)
					}
				}
			}
			dead := map[string]string{"198.51.100.1": "lan0", "2001:db8:2::1": "lan0", gw4: "lan0", gw4 + " ipproto udp dport 53": "lan0"}
			if strict {
				dead = map[string]string{
					"198.51.100.1": "", "2001:db8:2::1": "", gw4: "lan0", gw4 + " ipproto udp dport 53": "", gw6 + " ipproto tcp dport 853": "",
					"198.51.100.1 mark 0x6c33": "lan0", "2001:db8:2::1 oif lan0": "",
				}
			}
			die(cfg)
			for query, want := range dead {
				if got := host.way(query); got != want {
					t.Errorf("strict %v: %s goes by %q, want %q", strict, query, got, want)
				}
			}
			other := cfg // what is of another configuration goes
			other.Table, other.Mark, other.Priority, other.Exclude = 333, 7, 9000, prefixes("203.0.113.0/24")
			die(other)
			for range 2 {
				die(cfg)
			}
			dev := host.open(tunName)
			r := host.mustSetup(cfg)
			host.do(func() {
				rules, err := r.k.ourRules()
				if err != nil || len(rules) != len(r.cfg.rules()) {
					t.Errorf("%d rules, %v, want %d", len(rules), err, len(r.cfg.rules()))
				}
				routes, err := r.k.ourRoutes()
				if err != nil || len(routes) != len(r.cfg.routes()) {
					t.Errorf("%d routes, %v, want %d", len(routes), err, len(r.cfg.routes()))
				}
				r.once.Do(func() {})
				r.release()
				_ = dev.Close()
				for range 2 {
					if err := Cleanup(&cfg); err != nil {
						t.Error(err)
					}
				}
			})
			if after := host.snapshot(); after != before {
				t.Errorf("strict %v, before:\n%s\nafter:\n%s", strict, before, after)
			}
		}
	}
}

// TestFails: each failure is one line that says what and where, and leaves nothing.
func TestFails(t *testing.T) {
	host, _ := newHost(t)
	host.open(tunName)
	before := host.snapshot()
	for name, tc := range map[string]struct {
		cfg   Config
		words []string
		is    error
	}{
		"no device":     {Config{Device: "l3none"}, []string{"Config.Device l3none"}, nil},
		"no table":      {Config{Table: 254}, []string{"Config.Table 254"}, nil},
		"state dir":     {Config{StateDir: "/proc/none"}, []string{"Config.StateDir", "/proc/none"}, nil},
		"resolv.conf":   {Config{DNS: addrs("10.0.0.1"), ResolvConf: "/proc/none/resolv.conf"}, []string{"Config.ResolvConf", "/proc/none"}, nil},
		"not a link up": {Config{Addrs: prefixes("127.0.0.1/8", "ff02::1/64")}, []string{"ff02::1/64", tunName}, nil},
	} {
		if tc.cfg.StateDir == "" {
			tc.cfg.StateDir = t.TempDir()
		}
		_, err := host.setup(tc.cfg)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range append(tc.words, "autoroute: ") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", name, err, w)
			}
		}
		if after := host.snapshot(); after != before {
			t.Errorf("%s: before:\n%s\nafter:\n%s", name, before, after)
		}
	}
}

// TestNoPermission runs without capabilities.
func TestNoPermission(t *testing.T) {
	host, _ := newHost(t)
	host.open(tunName)
	before := host.snapshot()
	dir := t.TempDir()
	host.do(func() {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var was, none [2]unix.CapUserData
		if err := unix.Capget(&hdr, &was[0]); err != nil {
			t.Error(err)
			return
		}
		none = was
		none[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&hdr, &none[0]); err != nil { // of this thread
			t.Error(err)
			return
		}
		_, err := Setup(&Config{Device: tunName, StateDir: dir})
		if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") || strings.Contains(err.Error(), "\n") {
			t.Error(err)
		}
		if err := unix.Capset(&hdr, &was[0]); err != nil {
			t.Error(err)
		}
	})
	if after := host.snapshot(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestForeignState: what somebody else could have written is not believed.
func TestForeignState(t *testing.T) {
	host, _ := newHost(t)
	host.open(tunName)
	for _, spoil := range []func(string) error{
		func(name string) error { return os.Chown(name, 1234, 0) },
		func(name string) error { return os.Chmod(name, 0o622) },
		func(name string) error { return errors.Join(os.Remove(name), os.Symlink("/dev/null", name)) },
		func(name string) error { return errors.Join(os.Remove(name), unix.Mkfifo(name, 0o600)) },
		func(name string) error { return os.WriteFile(name, []byte("{"), 0o600) },
	} {
		dir := t.TempDir()
		r := host.mustSetup(Config{StateDir: dir})
		host.do(func() { must(t, r.Close()) })
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		must(t, spoil(names[0]))
		if _, err := host.setup(Config{StateDir: dir}); err == nil || !strings.Contains(err.Error(), names[0]) || strings.Contains(err.Error(), "\n") {
			t.Error(err)
		}
	}
}
