package autoroute

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	wasResolv  = "# mine\nnameserver 192.0.2.53\nsearch example.org example.net\noptions  ndots:2\n"
	ownResolvs = header + "nameserver 10.0.0.1\nnameserver fd00::1\nsearch example.org example.net\noptions ndots:2\n"
)

// TestResolvConf: what was there is there again, whatever it was.
func TestResolvConf(t *testing.T) {
	for name, tc := range map[string]struct {
		make  func(t *testing.T, dir, path string)
		rest  bool // ours keeps search and options
		after func(t *testing.T, dir, path string)
	}{
		"file": {
			func(t *testing.T, _, path string) {
				must(t, os.WriteFile(path, []byte(wasResolv), 0o640))
				must(t, os.Chmod(path, 0o640))
				must(t, os.Chown(path, os.Getuid(), 7))
			}, true,
			func(t *testing.T, _, path string) {
				fi, err := os.Lstat(path)
				must(t, err)
				if fi.Mode() != 0o640 || fi.Sys().(*syscall.Stat_t).Gid != 7 {
					t.Error(fi.Mode(), fi.Sys())
				}
			},
		},
		"link": {
			func(t *testing.T, dir, path string) {
				must(t, os.WriteFile(filepath.Join(dir, "real"), []byte(wasResolv), 0o644))
				must(t, os.Symlink("real", path))
			}, true,
			func(t *testing.T, _, path string) {
				if to, err := os.Readlink(path); err != nil || to != "real" {
					t.Error(to, err)
				}
			},
		},
		"link to nowhere": {
			func(t *testing.T, dir, path string) { must(t, os.Symlink("none", path)) }, false,
			func(t *testing.T, _, path string) {
				if to, err := os.Readlink(path); err != nil || to != "none" {
					t.Error(to, err)
				}
			},
		},
		"nothing": {
			func(*testing.T, string, string) {}, false,
			func(t *testing.T, _, path string) {
				if _, err := os.Lstat(path); !os.IsNotExist(err) {
					t.Error(err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Getuid() != 0 {
				t.Skip("needs root, to give files away")
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "resolv.conf")
			tc.make(t, dir, path)
			was, _ := os.ReadFile(path)
			b, err := backUpResolv(path, addrs("10.0.0.1", "fd00::1"), "")
			must(t, err)
			f, err := b.replace()
			must(t, err)
			defer f.Close()
			want := ownResolvs
			if !tc.rest {
				want, _, _ = strings.Cut(want, "search")
			}
			if got, err := os.ReadFile(path); err != nil || withoutKept(got) != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			if name == "link" {
				if got, err := os.ReadFile(filepath.Join(dir, "real")); err != nil || string(got) != wasResolv {
					t.Errorf("what the link led to has become %q, %v", got, err)
				}
			}
			for range 2 {
				must(t, b.restore(nil))
			}
			if got, _ := os.ReadFile(path); string(got) != string(was) {
				t.Errorf("got %q, want %q", got, was)
			}
			tc.after(t, dir, path)
			if left, err := filepath.Glob(filepath.Join(dir, ".resolv*")); err != nil || len(left) > 0 {
				t.Error("left over:", left, err)
			}
		})
	}
}

// TestResolvConfOfOthers: what somebody else has written in the meantime stays.
func TestResolvConfOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	must(t, os.WriteFile(path, []byte(wasResolv), 0o644))
	b, err := backUpResolv(path, addrs("10.0.0.1"), "")
	must(t, err)
	f, err := b.replace()
	must(t, err)
	defer f.Close()
	const theirs = "nameserver 203.0.113.53\n"
	must(t, os.WriteFile(path, []byte(theirs), 0o644))
	must(t, b.restore(f))
	if got, err := os.ReadFile(path); err != nil || string(got) != theirs {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestResolvConfWithoutRights: a process that has given up its rights restores the
// content, says what is missing, and the next one with rights does that.
func TestResolvConfWithoutRights(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to give up rights")
	}
	for _, link := range []bool{false, true} {
		dir := t.TempDir()
		must(t, os.Chmod(filepath.Dir(dir), 0o755))
		path := filepath.Join(dir, "resolv.conf")
		real := path
		if link {
			real = filepath.Join(dir, "real")
			must(t, os.Symlink("real", path))
		}
		must(t, os.WriteFile(real, []byte(wasResolv), 0o644))
		b, err := backUpResolv(path, addrs("10.0.0.1"), "")
		must(t, err)
		f, err := b.replace()
		must(t, err)
		defer f.Close()
		onThread(t, func() {
			_, _, errno := unix.RawSyscall(unix.SYS_SETFSUID, 12345, 0, 0) // of this thread
			if errno != 0 {
				t.Error(errno)
			}
			err = b.restore(f)
		})
		if link != (err != nil) {
			t.Errorf("link %v: %v", link, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != wasResolv {
			t.Errorf("got %q, %v", got, err)
		}
		must(t, b.restore(nil))
		if fi, err := os.Lstat(path); err != nil || (fi.Mode()&fs.ModeSymlink != 0) != link {
			t.Errorf("link %v: %v, %v", link, fi.Mode(), err)
		}
	}
}

// TestResolvConfMounted: where something is mounted over the file, as in containers, it
// is written in place.
func TestResolvConfMounted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount")
	}
	onThread(t, func() {
		dir := t.TempDir()
		path, other := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "other")
		must(t, os.WriteFile(path, nil, 0o644))
		must(t, os.WriteFile(other, []byte(wasResolv), 0o644))
		must(t, unix.Unshare(unix.CLONE_NEWNS))
		must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		must(t, unix.Mount(other, path, "", unix.MS_BIND, ""))
		b, err := backUpResolv(path, addrs("10.0.0.1", "fd00::1"), "")
		must(t, err)
		f, err := b.replace()
		must(t, err)
		defer f.Close()
		if got, err := os.ReadFile(path); err != nil || withoutKept(got) != ownResolvs {
			t.Errorf("got %q, %v", got, err)
		}
		must(t, b.restore(f))
		if got, err := os.ReadFile(other); err != nil || string(got) != wasResolv {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestResolved: systemd-resolved is asked where it is in use, and the file left alone.
func TestResolved(t *testing.T) {
	host, _ := newHost(t)
	host.open(tunName)
	bin, dir := t.TempDir(), t.TempDir()
	said := filepath.Join(dir, "said")
	must(t, os.WriteFile(filepath.Join(bin, "resolvectl"), []byte("#!/bin/sh\necho \"$@\" >>"+said+"\n"), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	path := filepath.Join(dir, "resolv.conf")
	must(t, os.WriteFile(path, []byte("nameserver 127.0.0.53\n"), 0o644))
	r := host.mustSetup(Config{StateDir: dir, DNS: addrs("172.19.83.2", "fd6c:3365:7874::2"), ResolvConf: path})
	host.do(func() { must(t, r.Close()) })
	want := "dns l3auto 172.19.83.2 fd6c:3365:7874::2\ndomain l3auto ~.\ndefault-route l3auto true\nrevert l3auto\n"
	if got, err := os.ReadFile(said); err != nil || string(got) != want {
		t.Errorf("resolvectl was told %q, %v, want %q", got, err, want)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "nameserver 127.0.0.53\n" {
		t.Errorf("resolv.conf: %q, %v", got, err)
	}
	if !usesResolved(path) {
		t.Error("not recognised")
	}
	link := filepath.Join(dir, "link")
	must(t, os.Symlink("/run/systemd/resolve/stub-resolv.conf", link))
	if !usesResolved(link) {
		t.Error("a link to it is not recognised")
	}
	must(t, os.WriteFile(path, []byte("nameserver 192.0.2.1\n"), 0o644))
	if usesResolved(path) {
		t.Error("another resolver is taken for it")
	}
}

// TestFilesOfTheKilled: resolv.conf and reverse-path filters of an instance that was
// killed are put right by Cleanup and by the next Setup.
func TestFilesOfTheKilled(t *testing.T) {
	for _, again := range []bool{false, true} {
		host, _ := newHost(t)
		host.sysctl("net/ipv4/conf/all/rp_filter", "1")
		host.sysctl("net/ipv4/conf/lan0/rp_filter", "0")
		filter := func() string {
			out, err := host.run("cat /proc/sys/net/ipv4/conf/lan0/rp_filter")
			must(t, err)
			return strings.TrimSpace(out)
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "resolv.conf")
		must(t, os.WriteFile(path, []byte(wasResolv), 0o644))
		cfg := Config{StateDir: dir, DNS: addrs("10.0.0.1"), ResolvConf: path, Device: tunName}
		dev := host.open(tunName)
		r := host.mustSetup(cfg)
		if got := filter(); got != "2" {
			t.Errorf("the filter is %s", got)
		}
		r.once.Do(func() {}) // it never gets to Close
		r.release()
		if again {
			cfg.DNS = nil
			r := host.mustSetup(cfg)
			host.do(func() { must(t, r.Close()) })
		} else {
			_ = dev.Close()
			host.do(func() { must(t, Cleanup(&cfg)) })
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != wasResolv {
			t.Errorf("got %q, %v", got, err)
		}
		if got := filter(); got != "0" {
			t.Errorf("the filter is %s", got)
		}
		files, err := filepath.Glob(filepath.Join(dir, "autoroute-*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if fi, err := os.Stat(files[0]); err != nil || fi.Mode() != 0o600 || fi.Size() != 0 {
			t.Error(fi.Mode(), fi.Size(), err)
		}
	}
}

// TestFilter: answers to marked sockets come through where the filter was strict.
func TestFilter(t *testing.T) {
	if _, err := exec.LookPath("ping"); err != nil {
		t.Skip("needs ping")
	}
	host, gateway := newHost(t)
	gateway.ip("route add 172.19.83.0/24 via 192.0.2.2")
	host.sysctl("net/ipv4/conf/all/rp_filter", "1")
	host.open(tunName)
	r := host.mustSetup(Config{StateDir: t.TempDir()})
	const ping = "ping -c 1 -W 5 -m 27699 198.51.100.1" // 0x6c33
	if out, err := host.run(ping); err != nil {
		t.Error(err, out)
	}
	host.do(func() { must(t, tightenFilters(r.saved.Filters)) })
	if out, err := host.run("ping -c 1 -W 1 -m 27699 198.51.100.1"); err == nil {
		t.Errorf("a strict filter lets answers through, so this test shows nothing: %s", out)
	}
}

// withoutKept is a resolv.conf of ours without what it keeps.
func withoutKept(b []byte) string {
	text, _, _ := strings.Cut(string(b), keeping)
	return text
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// onThread runs f on a thread of its own, which nobody uses afterwards.
func onThread(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { // awaited below
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}
