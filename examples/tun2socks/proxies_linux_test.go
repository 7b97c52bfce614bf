package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The passwords of the tests' proxies. Dante's users are the system's; it gets a list of its own.
const (
	user, password = "anna", "s3cret"
	shadowEntry    = user + ":$6$l3extract$g9SD/pp4cEnlQz5f72dVcXCl2.UKSrLW/2Yb6QphVJFCLXw0zLlAgvF/VC2hHvZryatU7AcNU.dEjhHizEOJF/:19000:0:99999:7:::\n"
)

// proxies are those that people run. Each returns what -proxy is to be.
var proxies = []struct {
	name    string
	program string
	udp     bool
	start   func(t *testing.T, w *world) (url string, stop func())
}{
	{"microsocks", "microsocks", false, startMicrosocks},
	{"dante with a password", "danted", true, startDante},
	{"tinyproxy", "tinyproxy", false, startTinyproxy},
}

func startMicrosocks(t *testing.T, w *world) (string, func()) {
	stop := w.daemon(t, "microsocks", "-i", "127.0.0.1", "-p", "1080")
	w.awaitPort(t, "127.0.0.1:1080")
	return "socks5://127.0.0.1:1080", stop
}

func startTinyproxy(t *testing.T, w *world) (string, func()) {
	conf := file(t, "tinyproxy.conf", "Port 8888\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\nBasicAuth "+user+" "+password+"\n")
	stop := w.daemon(t, "tinyproxy", "-d", "-c", conf)
	w.awaitPort(t, "127.0.0.1:8888")
	return "http://" + user + ":" + password + "@127.0.0.1:8888", stop
}

func startDante(t *testing.T, w *world) (string, func()) {
	conf := file(t, "danted.conf", fmt.Sprintf(`
logoutput: stderr
errorlog: stderr
internal: 127.0.0.1 port = 1081
external: %s
external: %s
external.rotation: route
socksmethod: username
user.privileged: root
user.unprivileged: nobody
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 command: connect udpassociate udpreply }
socks pass { from: 0.0.0.0/0 to: ::/0 command: connect udpassociate udpreply }
socks pass { from: ::/0 to: 0.0.0.0/0 command: udpreply }
`, srv4, srv6))
	with := func(name, entry string) string {
		old, err := os.ReadFile("/etc/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return file(t, name, string(old)+entry)
	}
	passwd, shadow := with("passwd", user+":x:65000:65000::/nonexistent:/usr/sbin/nologin\n"), with("shadow", shadowEntry)
	if err := os.Chmod(passwd, 0o644); err != nil {
		t.Fatal(err)
	}
	stop := w.daemon(t, "unshare", "-m", "sh", "-c",
		`mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/shadow && exec danted -f "$3"`, "sh", passwd, shadow, conf)
	w.awaitPort(t, "127.0.0.1:1081")
	return "socks5://" + user + ":" + password + "@127.0.0.1:1081", stop
}

// TestProxies: what people use works through what people run, over both IP versions.
func TestProxies(t *testing.T) {
	w := newWorld(t, "wget", "git", "dig", "iperf3")
	w.serveDNS(t)
	w.gitRepository(t)
	w.daemon(t, "iperf3", "-s", "-p", "5201")
	w.awaitPort(t, srv4+":5201")
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			if _, err := exec.LookPath(p.program); err != nil {
				t.Skipf("%s is not installed", p.program)
			}
			url, _ := p.start(t, w)
			program := w.start(t, "-proxy", url, "-dns", "udp://"+srv4)
			for _, host := range []string{srv4, "[" + srv6 + "]"} {
				if got := w.there.fetch(t, "http://"+host+"/body"); got != w.sum {
					t.Errorf("curl %s: SHA-256 %s, want %s", host, got, w.sum)
				}
			}
			if out := w.must(t, "sh", "-c", "wget -q -O - http://"+srv4+"/body | sha256sum"); !strings.HasPrefix(out, w.sum) {
				t.Errorf("wget: %s", out)
			}
			if out := w.must(t, "sh", "-c", "git clone -q http://"+srv4+"/files/repo.git r && cat r/file"); out != "of the repository\n" {
				t.Errorf("git clone: %q", out)
			}
			for _, args := range []string{"a", "+tcp a", "aaaa"} {
				want := srv4
				if args == "aaaa" {
					want = srv6
				}
				out := w.must(t, "dig", append([]string{"+short", "+time=5", "+tries=1", "@203.0.113.53", "www.example.com"}, strings.Fields(args)...)...)
				if strings.TrimSpace(out) != want {
					t.Errorf("dig %s: %q, want %s", args, out, want)
				}
			}
			iperf := []string{"-c", srv4, "-p", "5201", "-t", "1", "-J"}
			w.moved(t, iperf...)
			w.moved(t, append(iperf, "-R")...)
			if p.udp {
				w.moved(t, append(iperf, "-u", "-b", "20M", "-l", "1200")...)
			}
			w.refusedSoon(t)
			program.stop(t)
		})
	}
}

// gitRepository makes a repository that a plain web server can serve.
func (w *world) gitRepository(t *testing.T) {
	t.Helper()
	work := t.TempDir()
	script := `set -e; cd "$1"; export GIT_CONFIG_GLOBAL=/dev/null
git init -q; echo of the repository > file; git add file
git -c user.name=t -c user.email=t@example.com commit -q -m one
git clone -q --bare . "$2/repo.git"; git -C "$2/repo.git" update-server-info`
	if out, err := exec.Command("sh", "-c", script, "sh", work, w.dir).CombinedOutput(); err != nil {
		t.Fatalf("git: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "repo.git", "info", "refs")); err != nil {
		t.Fatal(err)
	}
}

// moved runs iperf3, which has to say that bytes have arrived.
func (w *world) moved(t *testing.T, args ...string) {
	t.Helper()
	out, err := w.client(t, "iperf3", args...)
	for end := time.Now().Add(patience); strings.Contains(out, "server is busy") && time.Now().Before(end); { // with the end of the last test
		time.Sleep(50 * time.Millisecond)
		out, err = w.client(t, "iperf3", args...)
	}
	received := regexp.MustCompile(`"bytes":\s*[1-9]\d{5,}`) // of some interval
	if err != nil || !received.MatchString(out) || strings.Contains(out, `"error"`) {
		t.Errorf("iperf3 %s: %v, %.2000s", strings.Join(args, " "), err, out)
	}
}

// refusedSoon: a port that the proxy cannot reach is refused, not accepted and reset.
func (w *world) refusedSoon(t *testing.T) {
	t.Helper()
	began := time.Now()
	out, err := w.client(t, "curl", "-sS", "--max-time", "20", "http://"+srv4+":81/")
	if err == nil || !strings.Contains(out, "(7)") || strings.Contains(out, "timed out") { // CURLE_COULDNT_CONNECT
		t.Errorf("a closed port: %v, %s", err, out)
	}
	t.Logf("refused after %v, the start of curl included", time.Since(began).Round(time.Millisecond))
}

// TestScan: a port scan through a proxy finds what one beside it finds.
func TestScan(t *testing.T) {
	w := newWorld(t, "nmap", "microsocks")
	for _, port := range []int{22, 443, 999} {
		w.listen(t, "tcp", srv4, port)
	}
	url, _ := startMicrosocks(t, w)
	program := w.start(t, "-proxy", url)
	open := regexp.MustCompile(`(?m)^(\d+)/tcp +(\S+)`)
	args := []string{"-sT", "-Pn", "-n", "-T4", "-p", "1-1000", srv4}
	through := open.FindAllString(w.must(t, "nmap", args...), -1)
	var beside []string
	w.here.do(t, func() error {
		out, err := exec.CommandContext(t.Context(), "nmap", args...).CombinedOutput()
		beside = open.FindAllString(string(out), -1)
		return err
	})
	if len(beside) != 4 || fmt.Sprint(through) != fmt.Sprint(beside) {
		t.Errorf("through the proxy %q, beside it %q", through, beside)
	}
	program.stop(t)
}

// TestProxyDies: flows end with it, and new ones work when it is back.
func TestProxyDies(t *testing.T) {
	w := newWorld(t, "microsocks")
	url, kill := startMicrosocks(t, w)
	program := w.start(t, "-proxy", url, "-loglevel", "debug")
	got := make(chan string, 1)
	go func() { // awaited below
		_, err := w.client(t, "curl", "-sS", "-o", "/dev/null", "http://"+srv4+"/slow")
		got <- fmt.Sprint(err)
	}()
	<-w.half
	kill()
	if err := <-got; err == "<nil>" {
		t.Error("a fetch came to its end without its proxy")
	}
	program.await(t, "msg=flow") // its sockets were closed in order by the kernel, or reset
	if out, err := w.client(t, "curl", "-sS", "--max-time", "10", "http://"+srv4+"/body"); err == nil {
		t.Errorf("without a proxy: %.200s", out)
	}
	program.await(t, `cause="dial failed"`)
	startMicrosocks(t, w)
	if got := w.there.fetch(t, "http://"+srv4+"/body"); got != w.sum {
		t.Errorf("with the proxy back: SHA-256 %s", got)
	}
	program.stop(t)
}
