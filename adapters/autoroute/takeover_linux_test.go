package autoroute

import (
	"errors"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"l3extract/l3conn/tun"
)

// dies is an instance that was killed: what it has set up is left.
func dies(t *testing.T, dev *tun.Device, r *Routes) {
	t.Helper()
	r.once.Do(func() {}) // it never gets to Close
	r.release()
	must(t, dev.Close())
}

// TestOtherPriority: what a killed instance has left at other priorities is not taken for
// rules that are wanted, wherever they meet.
func TestOtherPriority(t *testing.T) {
	host, _ := newHost(t)
	before := host.snapshot()
	for d := -atEnd; d <= atEnd; d++ {
		cfg := Config{StateDir: t.TempDir(), Strict: true, Device: tunName}
		dies(t, host.open(tunName), host.mustSetup(cfg))
		cfg.Priority = DefaultPriority + d
		dev := host.open(tunName)
		r := host.mustSetup(cfg)
		expect := func(want map[string]string) {
			t.Helper()
			for query, want := range want {
				if got := host.way(query); got != want {
					rules, _ := host.run("ip rule")
					t.Errorf("%+d: %s goes by %q, want %q\n%s", d, query, got, want, rules)
				}
			}
		}
		const marked, marked6 = "198.51.100.1 mark 0x6c33", "2001:db8:2::1 mark 0x6c33"
		expect(map[string]string{"198.51.100.1": tunName, "2001:db8:2::1": tunName, marked: "lan0", marked6: "lan0", gw4: "lan0"})
		dies(t, dev, r)
		expect(map[string]string{"198.51.100.1": "", "2001:db8:2::1": "", marked: "lan0", marked6: "lan0", gw4: "lan0"})
		host.do(func() { must(t, Cleanup(&cfg)) })
		if after := host.snapshot(); after != before {
			t.Fatalf("%+d: before:\n%s\nafter:\n%s", d, before, after)
		}
	}
}

// TestCleanupOfTheLiving: Cleanup with another state directory does not take the routes
// of an instance that lives.
func TestCleanupOfTheLiving(t *testing.T) {
	host, _ := newHost(t)
	dev := host.open(tunName)
	r := host.mustSetup(Config{StateDir: t.TempDir(), Strict: true})
	want := host.snapshot()
	other := Config{StateDir: t.TempDir()}
	host.do(func() {
		if err := Cleanup(&other); !errors.Is(err, errBusy) || !strings.Contains(err.Error(), tunName) {
			t.Error(err)
		}
	})
	if got := host.snapshot(); got != want {
		t.Errorf("changed from\n%s\nto\n%s", want, got)
	}
	dies(t, dev, r)
	host.do(func() { must(t, Cleanup(&other)) })
}

// TestInterruptedDump: a list that a change came in the middle of is asked for again, and
// is never taken for whole.
func TestInterruptedDump(t *testing.T) {
	for _, times := range []int{0, 3, 1000} {
		n := 0
		all, err := again(func() (string, error) {
			if n++; n <= times {
				return "some", netlink.ErrDumpInterrupted
			}
			return "all", nil
		})
		if (err == nil) != (all == "all") || (err == nil) != (times < 1000) {
			t.Errorf("after %d: %s, %v", times, all, err)
		}
	}
}

// TestIPv6SwitchedOff: an interface for which IPv6 was off has it while it is ours.
func TestIPv6SwitchedOff(t *testing.T) {
	host, _ := newHost(t)
	host.open(tunName)
	off := func() string {
		t.Helper()
		out, err := host.run("cat " + noIPv6(tunName))
		must(t, err)
		return strings.TrimSpace(out)
	}
	host.sysctl("net/ipv6/conf/"+tunName+"/disable_ipv6", "1")
	r := host.mustSetup(Config{StateDir: t.TempDir()})
	if off() != "0" {
		t.Error("it stays off")
	}
	host.do(func() { must(t, r.Close()) })
	if off() != "1" {
		t.Error("it is not off again")
	}
}

// TestFailsLate: a Setup that fails when routes and rules are there takes them back, and
// one that takes over what refuses traffic leaves it refused.
func TestFailsLate(t *testing.T) {
	host, _ := newHost(t)
	before := host.snapshot()
	for name, bad := range map[string]Config{
		"address":     {Addrs: prefixes("10.0.0.1/24", "ff02::1/64")},
		"resolv.conf": {DNS: addrs("10.0.0.1"), ResolvConf: "/proc/sys/kernel/hostname"}, // can be read, and not be replaced
	} {
		for _, strict := range []bool{false, true} {
			cfg := Config{StateDir: t.TempDir(), Strict: strict, Device: tunName}
			bad.StateDir, bad.Strict = cfg.StateDir, strict
			if strict {
				dies(t, host.open(tunName), host.mustSetup(cfg))
			}
			dev := host.open(tunName)
			if _, err := host.setup(bad); err == nil {
				t.Errorf("%s: no error", name)
			}
			want := map[string]string{"198.51.100.1": "lan0", "2001:db8:2::1": "lan0", gw4: "lan0", "198.51.100.1 mark 0x6c33": "lan0"}
			if strict {
				want["198.51.100.1"], want["2001:db8:2::1"] = "", ""
			}
			for query, want := range want {
				if got := host.way(query); got != want {
					t.Errorf("%s, strict %v: %s goes by %q, want %q", name, strict, query, got, want)
				}
			}
			must(t, dev.Close())
			if strict {
				host.do(func() { must(t, Cleanup(&cfg)) })
			}
			if after := host.snapshot(); after != before {
				t.Errorf("%s, strict %v, before:\n%s\nafter:\n%s", name, strict, before, after)
			}
		}
	}
}

// TestSmallMTU: IPv6 wants 1280, which is said before anything is changed.
func TestSmallMTU(t *testing.T) {
	host, _ := newHost(t)
	before := host.snapshot()
	host.open(tunName)
	host.ip("link set " + tunName + " mtu 1000")
	mtu := func() string {
		out, err := host.run("ip -o link show " + tunName)
		must(t, err)
		_, out, _ = strings.Cut(out, " mtu ")
		out, _, _ = strings.Cut(out, " ")
		return out
	}
	if _, err := host.setup(Config{StateDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), tunName) || !strings.Contains(err.Error(), "1280") {
		t.Error(err)
	}
	if after := host.snapshot(); after != before || mtu() != "1000" {
		t.Errorf("MTU %s, before:\n%s\nafter:\n%s", mtu(), before, after)
	}
	for set, want := range map[int]string{0: "1000", 576: "576"} {
		r := host.mustSetup(Config{StateDir: t.TempDir(), MTU: set, Addrs: prefixes("10.0.0.1/30")})
		if mtu() != want {
			t.Errorf("MTU %s, want %s", mtu(), want)
		}
		host.do(func() { must(t, r.Close()) })
	}
	r := host.mustSetup(Config{StateDir: t.TempDir(), MTU: 1280})
	if mtu() != "1280" || host.way("2001:db8:2::1") != tunName {
		t.Errorf("MTU %s, IPv6 goes by %s", mtu(), host.way("2001:db8:2::1"))
	}
	host.do(func() { must(t, r.Close()) })
	if after := host.snapshot(); after != before || mtu() != "1000" {
		t.Errorf("MTU %s, before:\n%s\nafter:\n%s", mtu(), before, after)
	}
}
