package autoroute

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestResolvConfAfterPowerCut: the state is lost, as /run is when the host crashes, and
// the resolv.conf of ours is on disk. What was there before is put back all the same.
func TestResolvConfAfterPowerCut(t *testing.T) {
	host, _ := newHost(t)
	for _, link := range []bool{false, true} {
		for _, clean := range []bool{false, true} {
			dir := t.TempDir()
			path := filepath.Join(dir, "resolv.conf")
			if link {
				must(t, os.WriteFile(filepath.Join(dir, "real"), []byte(wasResolv), 0o644))
				must(t, os.Symlink("real", path))
			} else {
				must(t, os.WriteFile(path, []byte(wasResolv), 0o640))
				must(t, os.Chmod(path, 0o640))
			}
			cfg := Config{StateDir: filepath.Join(dir, "state"), ResolvConf: path, DNS: addrs("10.0.0.1")}
			for range 2 {
				dies(t, host.open(tunName), host.mustSetup(cfg))
				must(t, os.RemoveAll(cfg.StateDir))
			}
			if clean {
				host.do(func() { must(t, Cleanup(&cfg)) })
			} else {
				dev := host.open(tunName)
				r := host.mustSetup(cfg)
				host.do(func() { must(t, r.Close()) })
				must(t, dev.Close())
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != wasResolv {
				t.Errorf("link %v, clean %v: %q, %v", link, clean, b, err)
			}
			if isLink(path) != link {
				t.Errorf("link %v, clean %v: it is a link: %v", link, clean, isLink(path))
			}
			if fi, err := os.Stat(path); err != nil || !link && fi.Mode() != 0o640 {
				t.Errorf("link %v, clean %v: %v, %v", link, clean, fi.Mode(), err)
			}
		}
	}
}

// TestResolvConfOfTheLiving: of two network namespaces with one resolv.conf the second is
// refused, and does not put back what the first needs.
func TestResolvConfOfTheLiving(t *testing.T) {
	one, _ := newHost(t)
	two, _ := newHost(t)
	path := filepath.Join(t.TempDir(), "resolv.conf")
	must(t, os.WriteFile(path, []byte(wasResolv), 0o644))
	cfg := func() Config { return Config{StateDir: t.TempDir(), ResolvConf: path, DNS: addrs("10.0.0.1")} }
	dev := one.open(tunName)
	first := one.mustSetup(cfg())
	ours, err := os.ReadFile(path)
	must(t, err)
	two.open(tunName)
	before := two.snapshot()
	if _, err := two.setup(cfg()); !errors.Is(err, errBusy) || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	two.do(func() {
		c := cfg()
		must(t, Cleanup(&c))
	})
	if after := two.snapshot(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != string(ours) {
		t.Errorf("%q, %v", b, err)
	}
	dies(t, dev, first)
	second := two.mustSetup(cfg())
	two.do(func() { must(t, second.Close()) })
	if b, err := os.ReadFile(path); err != nil || string(b) != wasResolv {
		t.Errorf("%q, %v", b, err)
	}
}

// TestHint: a missing permission on a file is not said to be one of the network.
func TestHint(t *testing.T) {
	for err, want := range map[error]bool{
		unix.EPERM: true,
		&os.PathError{Op: "open", Path: "/proc/sys/net/ipv4/conf/lan0/rp_filter", Err: unix.EPERM}: true,
		&os.PathError{Op: "open", Path: "/etc/.resolv.conf-1", Err: unix.EPERM}:                    false,
		&os.LinkError{Op: "rename", Old: "a", New: "/etc/resolv.conf", Err: unix.EPERM}:            false,
		unix.EBUSY: false,
	} {
		if got := hint(err) != ""; got != want {
			t.Errorf("%v: %q", err, hint(err))
		}
	}
}
