package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// A resolver's daemon outside, asked over a Unix socket, is not asked by what
// runs inside.
func TestResolverSocketsHidden(t *testing.T) {
	need(t, "getent")
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		w.serveDNS(t)
		dir, err := os.MkdirTemp(work, "nscd-")
		if err == nil {
			err = os.Chmod(dir, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("unix", filepath.Join(dir, "socket"))
		if err == nil {
			err = os.Chmod(filepath.Join(dir, "socket"), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		var asked atomic.Int64
		go func() { // ended by Close of ln
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				asked.Add(1)
				c.Close()
			}
		}()
		c.Clean = true
		c.Dirs = map[string]string{"/run/nscd": dir, "/run/systemd/resolve": dir, "/run/avahi-daemon": dir}
		ask := []string{"getent", "hosts", "www.test"}
		w.outside.run(t, c.command(t, ask[0], ask[1:]...))
		if asked.Load() == 0 {
			t.Fatal("the fake resolver is not asked from outside either: this test shows nothing")
		}
		asked.Store(0)
		r := w.outside.run(t, c.l3run(t, append([]string{"--"}, ask...)...))
		if asked.Load() != 0 || !strings.Contains(r.out, "www.test") {
			t.Errorf("the host's resolver was asked %d times over its socket; the command got %q\n%s", asked.Load(), r.out, r.errout)
		}
		r = w.outside.run(t, c.l3run(t, "--", "sh", "-c", "ls -A /run/nscd /run/systemd/resolve /run/avahi-daemon | grep socket"))
		if r.out != "" {
			t.Errorf("inside one can see %q", r.out)
		}
	})
}

// The host's files stay as they are, whatever is missing among them.
func TestMissingFilesInEtc(t *testing.T) {
	w := newWorld(t)
	for name, break_ := range map[string]string{
		"nothing there":   "rm -f $etc/resolv.conf $etc/nsswitch.conf",
		"link to nowhere": "ln -sf ../run/nowhere/resolv.conf $etc/resolv.conf",
		"link into what is hidden": "ln -sf ../run/systemd/resolve/stub-resolv.conf $etc/resolv.conf; " +
			"mkdir -p $etc/resolve; echo nameserver " + srv4 + " >$etc/resolve/stub-resolv.conf",
	} {
		t.Run(name, func(t *testing.T) {
			as(t, func(t *testing.T, c *caller) {
				etc := filepath.Join(c.Home, "etc")
				script := "cp -a /etc $etc; mkdir -p $etc/resolve; " + break_
				if out, err := exec.Command("sh", "-c", "etc="+etc+"; "+script).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				c.Clean, c.Files = true, nil
				c.Dirs = map[string]string{"/etc": etc, "/run/systemd/resolve": filepath.Join(etc, "resolve")}
				before := listing(t, etc)
				r := w.outside.run(t, c.l3run(t, "--", "sh", "-c", "grep ^nameserver /etc/resolv.conf; grep ^hosts /etc/nsswitch.conf; wc -l </etc/passwd"))
				passwd, err := os.ReadFile("/etc/passwd")
				if err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprintf("nameserver 198.18.37.2\nhosts: files dns\n%d\n", strings.Count(string(passwd), "\n"))
				if r.out != want {
					t.Errorf("got %q, want %q\n%s", r.out, want, r.errout)
				}
				if after := listing(t, etc); after != before {
					t.Errorf("the host's /etc was\n%s\nand is\n%s", before, after)
				}
			})
		})
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("ls", "-lAR", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The host's loopback is reached by the address that was named for it, and by
// nothing else.
func TestHostLoopback(t *testing.T) {
	need(t, "curl")
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		for _, a := range []string{"127.0.0.1", "::1"} {
			ln := w.outside.listen(t, net.JoinHostPort(a, "8080"))
			s := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, "on "+a) })}
			go s.Serve(ln) // ended by Close
			t.Cleanup(func() { s.Close() })
		}
		const stand4, stand6 = "198.18.37.3", "fd6c:3372:756e::3"
		for _, tc := range []struct {
			flags []string
			host  string
			want  string
		}{
			{[]string{"-host-loopback", stand4}, stand4, "on 127.0.0.1"},
			{[]string{"-host-loopback", stand4, "-host-loopback", stand6}, stand6, "on ::1"},
			{nil, stand4, ""},
			{nil, "127.0.0.1", ""},
			{nil, "::1", ""},
			{nil, "0.0.0.0", ""},
			{nil, "127.0.0.2", ""},
			{[]string{"-host-loopback", stand4}, "127.0.0.1", ""},
		} {
			args := append(tc.flags, "--", "curl", "-sS", "-g", "--max-time", "20", "http://"+net.JoinHostPort(tc.host, "8080")+"/")
			r := w.outside.run(t, c.l3run(t, args...))
			if r.out != tc.want || (r.code == 0) != (tc.want != "") {
				t.Errorf("%v %s: exit %d, got %q, want %q\n%s", tc.flags, tc.host, r.code, r.out, tc.want, r.errout)
			}
		}
	})
}

// From outside one sees the connections that l3run dials, and nothing of the
// command's own packets.
func TestSeenFromOutside(t *testing.T) {
	need(t, "curl", "tcpdump")
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		w.serveBody(t, 1000)
		w.serveDNS(t)
		dump := exec.Command("tcpdump", "-n", "-l", "-i", "any", "--immediate-mode", "not arp and not (ip6 and (ip6[6] == 0 or ip6[6] == 58))") // neighbours and multicast listeners
		out, err := dump.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		errout, err := dump.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		w.outside.start(t, dump)
		for started := bufio.NewScanner(errout); started.Scan() && !strings.Contains(started.Text(), "listening on"); {
		}
		r := w.outside.run(t, c.l3run(t, "--", "curl", "-sS", "-g", "http://www.test/", "http://["+srv6+"]/"))
		if r.code != 0 {
			t.Errorf("exit %d\n%s", r.code, r.errout)
		}
		// One datagram that is surely behind all others, then no more are waited for.
		last := w.outside.listenPacket(t, out4+":0")
		if _, err := last.WriteTo([]byte("last"), &net.UDPAddr{IP: net.ParseIP(srv4), Port: 9}); err != nil {
			t.Fatal(err)
		}
		allowed := regexp.MustCompile(`(10\.77\.0\.1\.\d+ > 10\.77\.0\.2\.(53|80)|10\.77\.0\.2\.(53|80) > 10\.77\.0\.1\.\d+|` +
			`fd77::1\.\d+ > fd77::2\.80|fd77::2\.80 > fd77::1\.\d+): `)
		seen := 0
		for packets := bufio.NewScanner(out); packets.Scan(); seen++ {
			if strings.Contains(packets.Text(), "> 10.77.0.2.9:") {
				break
			}
			if !allowed.MatchString(packets.Text()) {
				t.Errorf("seen outside: %s", packets.Text())
			}
		}
		if seen < 20 {
			t.Errorf("tcpdump saw %d packets, which cannot be all", seen)
		}
	})
}

func TestPcap(t *testing.T) {
	need(t, "curl", "tcpdump")
	old := unix.Umask(0)
	defer unix.Umask(old)
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		w.serveBody(t, 1000)
		r := w.outside.run(t, c.l3run(t, "-pcap", "trace.pcap", "--", "curl", "-sS", "-o", "/dev/null", "http://"+srv4+"/"))
		if r.code != 0 {
			t.Fatalf("exit %d\n%s", r.code, r.errout)
		}
		name := filepath.Join(c.Home, "trace.pcap")
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != fs.FileMode(0o600) {
			t.Errorf("the capture's mode is %v, want 0600", fi.Mode())
		}
		text, err := exec.Command("tcpdump", "-n", "-r", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`198\.18\.37\.1\.\d+ > 10\.77\.0\.2\.80: Flags \[S\]`,
			`10\.77\.0\.2\.80 > 198\.18\.37\.1\.\d+: Flags \[S\.\]`,
			`HTTP/1\.1 200 OK`,
		} {
			if !regexp.MustCompile(want).Match(text) {
				t.Errorf("no packet matches %s in\n%s", want, text)
			}
		}
		r = w.outside.run(t, c.l3run(t, "-pcap", "/no/such/directory/file", "--", "echo", "ran"))
		if r.code != exitSetup || r.out != "" || !strings.Contains(r.errout, "capture") {
			t.Errorf("a capture that cannot be made: exit %d, %q %q", r.code, r.out, r.errout)
		}
	})
}
