package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/adapters/control"
)

// TestReload changes the way of new flows by SIGHUP; the open one goes on to its end, and a
// file that is wrong changes nothing.
func TestReload(t *testing.T) {
	w := newWorld(t)
	name := file(t, "t.yaml", "proxy: direct://\n")
	program := w.start(t, "-config", name)
	slow := make(chan string, 1)
	go func() { slow <- w.there.fetch(t, "http://"+srv4+"/slow") }() // awaited below
	<-w.half
	reload := func(text, want string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n := strings.Count(program.said(), want)
		if err := program.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for strings.Count(program.said(), want) == n {
			select {
			case <-program.more:
			case <-time.After(patience):
				t.Fatalf("no %q", want)
			}
		}
	}
	fetched := func(host string, want bool) {
		t.Helper()
		out, err := w.client(t, "curl", "-sS", "-o", "/dev/null", "--max-time", "10", "http://"+host+"/body")
		if (err == nil) != want {
			t.Errorf("curl %s: %v %s, want success %v", host, err, out, want)
		}
	}
	fetched(srv4, true)
	reload("proxy: direct://\nrules:\n- {to: ["+srv4+"], outbound: reject}\n", "the configuration is reloaded")
	fetched(srv4, false)
	fetched("["+srv6+"]", true)
	reload("proxy: direct://\nrules:\n- {to: ["+srv4+"], outbound: rejekt}\n", "t.yaml:3:32: rules[0].outbound")
	fetched(srv4, false)
	reload("proxy: direct://\nlimits: {tcp: 1}\nloglevel: debug\n", "the configuration is reloaded")
	fetched(srv4, false) // there is one
	reload("proxy: direct://\nmtu: 9000\n", `field=mtu`)
	fetched(srv4, true)
	close(w.hold)
	if got := <-slow; got != w.sum {
		t.Errorf("the open flow: SHA-256 %s, want %s", got, w.sum)
	}
	program.stop(t)
	if said := program.said(); !strings.Contains(said, "msg=ended") || !strings.Contains(said, "tcp.closed=") {
		t.Error("no summary of causes")
	}
}

// TestControl looks at a program from outside, and ends a flow.
func TestControl(t *testing.T) {
	w := newWorld(t)
	socket := filepath.Join(t.TempDir(), "c")
	program := w.start(t, "-control", "unix://"+socket, "-limit", "tcp=77", "-flow-log", filepath.Join(filepath.Dir(socket), "flows"))
	fetch := make(chan string, 1)
	go func() { // awaited below
		out, _ := w.client(t, "curl", "-sS", "-o", "/dev/null", "http://"+srv4+"/slow")
		fetch <- out
	}()
	<-w.half
	client, err := control.NewClient("unix://"+socket, "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	flows, err := client.Flows(t.Context(), control.Query{Port: 80})
	if err != nil || len(flows.Flows) != 1 || flows.Flows[0].Outbound != "proxy" {
		t.Fatalf("%+v, %v", flows, err)
	}
	if err := client.Kill(t.Context(), flows.Flows[0].ID); err != nil {
		t.Fatal(err)
	}
	if out := <-fetch; !strings.Contains(out, "reset") {
		t.Errorf("curl of a flow that was ended: %q", out)
	}
	st, err := client.Stats(t.Context())
	if err != nil || st.Ended["tcp"]["killed"] != 1 || st.Extra["router"] == nil {
		t.Errorf("%+v, %v", st, err)
	}
	program.stop(t)
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(socket), "flows"))
	var line struct{ Cause, To string }
	if err != nil || json.Unmarshal(b, &line) != nil || line.Cause != "killed" || line.To != srv4+":80" {
		t.Errorf("the log of flows: %s, %v", b, err)
	}
}

// TestNoSecrets greps for passwords in everything that the program prints and serves.
func TestNoSecrets(t *testing.T) {
	w := newWorld(t)
	secrets := []string{"open-sesame", "from-the-file", "from-the-variable", "of-control", "in-the-file"}
	passwordFile := file(t, "password", secrets[1]+"\n")
	config := file(t, "t.yaml", "outbounds:\n"+
		"- {name: a, url: 'socks5://joe:in-the-file@127.0.0.1:9'}\n"+
		"- {name: b, url: 'http://127.0.0.1:9', username: joe, password-file: "+passwordFile+"}\n"+
		"- {name: c, url: 'socks5://127.0.0.1:9', username: joe, password-env: TEST_PASSWORD}\n"+
		"- {name: d, failover: [a, b, c], check-address: '192.0.2.80:80', check-interval: 100ms}\n"+
		"rules:\n- {ports: [81], outbound: a}\n- {ports: [82], outbound: b}\n- {ports: [83], outbound: c}\n- {ports: [84], outbound: d}\n")
	env := []string{"TEST_PASSWORD=" + secrets[2]}
	args := []string{
		"-device", "tun://t2s0", "-config", config, "-proxy", "socks5://joe:open-sesame@127.0.0.1:9", "-loglevel", "debug",
		"-control", "http://of-control@127.0.0.1:9191", "-pprof",
	}
	for _, wrong := range [][]string{
		{"-check"}, {"-mtu", "1"}, {"-nothing"}, {"socks5://joe:open-sesame@h"}, {"-proxy", "socks9://joe:open-sesame@h"},
		{"-proxy", "socks5://joe:open-sesame@h:port"}, {"-proxy", "socks5://joe:open-sesame@[h"}, {"-dns", "udp://joe:open-sesame@h"},
	} {
		r := w.launch(t, env, append(args[:len(args):len(args)], wrong...)...)
		<-r.ended
		_ = r.Wait()
		grep(t, strings.Join(wrong, " "), r.said(), secrets)
		if wrong[0] == "-check" && strings.Count(r.said(), "***") < 5 {
			t.Errorf("-check hides little:\n%s", r.said())
		}
	}
	program := w.launch(t, env, args...)
	program.await(t, "msg=serving")
	w.here.ip(t, "link set t2s0 netns "+w.there.path())
	w.there.ip(t, "addr add 198.51.100.1/30 dev t2s0", "link set t2s0 up", "route add default dev t2s0")
	for port := 80; port <= 84; port++ {
		if out, err := w.client(t, "curl", "-sS", "--max-time", "5", fmt.Sprintf("http://%s:%d/", srv4, port)); err == nil {
			t.Errorf("a proxy that is not there: %s", out)
		}
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", program.Process.Pid))
	if err != nil || !strings.Contains(string(cmdline), "socks5://***@127.0.0.1:9") {
		t.Errorf("ps shows %q, %v", cmdline, err)
	}
	grep(t, "ps", string(cmdline), secrets)
	for _, page := range []string{"/stats", "/flows", "/metrics", "/config", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/nothing", "/flows?source=x"} {
		for _, token := range []string{"of-control", "wrong"} {
			grep(t, page, w.get(t, "http://127.0.0.1:9191"+page, token), secrets)
		}
	}
	if got := w.get(t, "http://127.0.0.1:9191/config", "of-control"); strings.Count(got, "***") < 5 {
		t.Errorf("/config is %s", got)
	}
	if err := program.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	program.await(t, "reloaded")
	program.stop(t)
	grep(t, "the log", program.said(), secrets)
}

func grep(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("%s shows %s:\n%.3000s", where, s, text)
		}
	}
}

// get returns what a page here answers.
func (w *world) get(t *testing.T, url, token string) string {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, network, address string) (c net.Conn, err error) {
		w.here.do(t, func() (err error) { c, err = net.Dial(network, address); return err })
		return c, err
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: tr, Timeout: patience}).Do(req)
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

// TestSystemd plays systemd: what the program says to it, and who it is when it serves.
func TestSystemd(t *testing.T) {
	w := newWorld(t)
	dir, err := os.MkdirTemp("", "") // not below a folder of the test's, which is root's alone
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("unixgram", filepath.Join(dir, "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if err := os.Chmod(filepath.Join(dir, "notify"), 0o777); err != nil {
		t.Fatal(err)
	}
	want := func(what string) {
		t.Helper()
		_ = pc.SetReadDeadline(time.Now().Add(patience))
		b := make([]byte, 1000)
		for {
			n, _, err := pc.ReadFrom(b)
			if err != nil {
				t.Fatalf("systemd is not told %q: %v", what, err)
			}
			if strings.HasPrefix(string(b[:n]), what) {
				return
			}
			if string(b[:n]) != "WATCHDOG=1" {
				t.Fatalf("systemd is told %q, want %q", b[:n], what)
			}
		}
	}
	env := []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), "WATCHDOG_USEC=200000"}
	program := w.launch(t, env, "-device", "t2s0", "-user", "nobody", "-fwmark", "7", "-tun-pre-up", "touch "+dir+"/pre", "-tun-post-up", "sh -c 'ip link show $TUN_DEVICE > "+dir+"/post'")
	want("READY=1")
	want("WATCHDOG=1")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", program.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"NoNewPrivs:\t1", "CapEff:\t0000000000001000", "CapBnd:\t0000000000000000"} {
		if !strings.Contains(string(status), line) {
			t.Errorf("no %q in\n%s", line, status)
		}
	}
	if strings.Contains(string(status), "Uid:\t0") {
		t.Error("it is still root")
	}
	if b, err := os.ReadFile(dir + "/post"); err != nil || !strings.Contains(string(b), "t2s0") {
		t.Errorf("tun-post-up has seen %q, %v", b, err)
	}
	if _, err := os.Stat(dir + "/pre"); err != nil {
		t.Error(err)
	}
	w.here.ip(t, "link set t2s0 netns "+w.there.path())
	w.there.ip(t, "addr add 198.51.100.1/30 dev t2s0", "link set t2s0 up", "route add default dev t2s0")
	if got := w.there.fetch(t, "http://"+srv4+"/body"); got != w.sum {
		t.Errorf("as nobody: SHA-256 %s", got)
	}
	if err := program.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	want("RELOADING=1\nMONOTONIC_USEC=")
	want("READY=1")
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	want("STOPPING=1")
	program.end(t)
}

// TestCannotStart: what is wrong with the system is one line, and nothing is left.
func TestCannotStart(t *testing.T) {
	w := newWorld(t)
	w.here.ip(t, "tuntap add dev t2s9 mode tap")
	taken := w.launch(t, nil, "-device", "t2s8")
	taken.await(t, "msg=serving")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-device", "t2s9"}, "device t2s9:"},
		{[]string{"-device", "t2s8"}, "device t2s8:"},
		{[]string{"-device", "t2s0", "-tun-pre-up", "sh -c 'echo it is broken; exit 3'"}, `tun-pre-up "sh": exit status 3: it is broken`},
		{[]string{"-device", "t2s0", "-tun-post-up", "/nowhere"}, `tun-post-up "/nowhere"`},
		{[]string{"-device", "t2s0", "-user", "nobody-at-all"}, "nobody-at-all"},
		{[]string{"-device", "t2s0", "-control", "unix:///nowhere/s"}, "control unix:///nowhere/s:"},
		{[]string{"-device", "t2s0", "-flow-log", "/nowhere/f"}, "flow-log:"},
		{[]string{"-device", "t2s0", "-capture", "/nowhere/f"}, "capture:"},
		{[]string{"-status", "-control", "unix:///nowhere/s"}, "needs a terminal"},
		{[]string{"-status"}, "needs a terminal"},
	} {
		r := w.launch(t, nil, c.args...)
		<-r.ended
		err := r.Wait()
		var exit *exec.ExitError
		if said := r.said(); !errors.As(err, &exit) || !strings.Contains(said, c.want) || strings.Count(said, "\n") != 1 {
			t.Errorf("%q: %v, %q, want one line with %q", c.args, err, said, c.want)
		}
	}
	taken.stop(t)
	w.here.do(t, func() error {
		out, err := exec.Command("ip", "-o", "link").CombinedOutput()
		if strings.Contains(string(out), "t2s0") || strings.Contains(string(out), "t2s8") {
			t.Errorf("interfaces are left:\n%s", out)
		}
		return err
	})
}

// TestStopped: a program that was stopped goes on where it was.
func TestStopped(t *testing.T) {
	w := newWorld(t)
	program := w.start(t)
	slow := make(chan string, 1)
	go func() { slow <- w.there.fetch(t, "http://"+srv4+"/slow") }() // awaited below
	<-w.half
	if err := program.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	close(w.hold)
	if err := program.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := <-slow; got != w.sum {
		t.Errorf("SHA-256 %s, want %s", got, w.sum)
	}
	program.stop(t)
}

// TestWorkersReload: SIGHUP reaches all workers.
func TestWorkersReload(t *testing.T) {
	w := newWorld(t)
	name := file(t, "t.yaml", "proxy: direct://\n")
	program := w.start(t, "-config", name, "-workers", "2")
	for strings.Count(program.said(), "msg=serving") < 2 {
		<-program.more
	}
	if err := os.WriteFile(name, []byte("proxy: reject://\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := program.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for strings.Count(program.said(), "is reloaded") < 2 {
		<-program.more
	}
	for range 4 {
		if out, err := w.client(t, "curl", "-sS", "-o", "/dev/null", "--max-time", "10", "http://"+srv4+"/body"); err == nil {
			t.Errorf("a flow that is to be rejected: %s", out)
		}
	}
	program.stop(t)
}

// TestSniff: the name in a client's first bytes chooses the way.
func TestSniff(t *testing.T) {
	w := newWorld(t)
	name := file(t, "t.yaml", "loglevel: debug\nsniff: [80]\nrules:\n- {domain: [bad.example], outbound: reject}\n")
	program := w.start(t, "-config", name)
	for host, good := range map[string]bool{"good.example": true, "bad.example": false} {
		out, err := w.client(t, "curl", "-sS", "-o", "/dev/null", "--max-time", "10", "-H", "Host: "+host, "http://"+srv4+"/body")
		if (err == nil) != good {
			t.Errorf("%s: %v, %s", host, err, out)
		}
		program.await(t, "name="+host)
	}
	program.stop(t)
}
