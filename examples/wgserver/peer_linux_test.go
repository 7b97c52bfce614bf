package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"l3extract/examples/internal/netnstest"
)

var bodySize = flag.Int64("body", 64<<20, "size in bytes of the body that curl fetches through wgserver")

// Where the servers are outside, and the tunnel's ends.
const (
	srv4, srv6 = "192.0.2.80", "2001:db8::80"
	resolver   = "192.0.2.53"
	here       = "172.31.7.1" // wgserver
	there      = "172.31.7.2" // the peer, before it roams
	elsewhere  = "172.31.7.3" // and after
	inside     = "10.66.0.1"
	// nobody runs wgserver: an unprivileged user.
	nobody = 65534
)

// TestRealPeer: wgserver, run by an unprivileged user, and wireguard-go's own program
// with a TUN of its own, each in a namespace. What users do comes through, also when
// the peer moves to another address and port in the middle of a download.
func TestRealPeer(t *testing.T) {
	netnstest.NeedRoot(t, "go", "ip", "curl", "ping", "dig", "iperf3")
	servers, clients := netnstest.New(t), netnstest.New(t)
	servers.IP(t, "link set lo up", "addr add "+srv4+"/32 dev lo", "addr add "+srv6+"/128 dev lo", "addr add "+resolver+"/32 dev lo",
		"link add veth0 type veth peer name veth1 netns "+clients.Path(), "addr add "+here+"/24 dev veth0", "link set veth0 up")
	clients.IP(t, "link set lo up", "addr add "+there+"/24 dev veth1", "link set veth1 up")
	servers.Sysctl(t, "ipv4/ping_group_range", "0 2147483647")
	sum, half, release := serveBody(t, servers)
	serveNames(t, servers)

	server, client := pairOfConfigs(t)
	program, log := startServer(t, servers, server)
	log.Await(t, "msg=serving")
	peer := startPeer(t, clients, client)
	clients.IP(t, "addr add "+client.addrs[0].String()+" dev "+peer.name, "addr add "+client.addrs[1].String()+" dev "+peer.name+" nodad",
		"link set "+peer.name+" mtu 1420 up", "route add default dev "+peer.name, "route add ::/0 dev "+peer.name)

	if out := clients.Output(t, "ping", "-c", "3", "-i", "0.2", "-W", "5", inside); !strings.Contains(out, " 0% packet loss") {
		t.Errorf("ping of the server's own address:\n%s", out)
	}
	log.Await(t, "msg=handshake", "from="+there)
	if out := clients.Output(t, "ping", "-c", "3", "-i", "0.2", "-W", "5", srv4); !strings.Contains(out, " 0% packet loss") {
		t.Errorf("ping of a host outside:\n%s", out)
	}
	for _, way := range []string{"+notcp", "+tcp"} {
		if out := clients.Output(t, "dig", "+short", "+time=5", way, "@"+inside, "www.test"); strings.TrimSpace(out) != srv4 {
			t.Errorf("dig %s: %q", way, out)
		}
	}
	for _, host := range []string{srv4, "[" + srv6 + "]"} {
		began := time.Now()
		if got := fetch(t, clients, "http://"+host+"/"); got != sum {
			t.Errorf("%s: SHA-256 %s, want %s", host, got, sum)
		}
		t.Logf("curl %s: %.0f Mbit/s", host, float64(*bodySize)*8/1e6/time.Since(began).Seconds())
	}
	iperf3(t, servers, clients)

	// The peer moves while curl is in the middle of a body.
	slow := make(chan string, 1)
	go func() { slow <- fetch(t, clients, "http://"+srv4+"/slow") }() // awaited below
	select {
	case <-half:
	case got := <-slow:
		t.Fatalf("the download ended before its half: SHA-256 %s", got)
	}
	clients.IP(t, "addr del "+there+"/24 dev veth1", "addr add "+elsewhere+"/24 dev veth1")
	peer.set(t, "listen_port=40404\n")
	clients.Output(t, "ping", "-c", "3", "-W", "10", inside) // a peer that says nothing is found by its next keepalive only
	close(release)
	if got := <-slow; got != sum {
		t.Errorf("roaming: SHA-256 %s, want %s", got, sum)
	}

	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	log.Await(t, "msg=draining")
	log.Await(t, "msg=peer", "from="+elsewhere+":40404", "10.66.0.2/32")
	t.Log(log.Await(t, "msg=summary", "peers=1"))
	<-log.Ended()
	if err := program.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit code 0\n%s", err, log)
	}
}

// pairOfConfigs makes a server's configuration and that of a client of it.
func pairOfConfigs(t *testing.T) (server, client *config) {
	t.Helper()
	secret, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	server, err = parseConfig("[Interface]\nPrivateKey = " + secret.String() +
		"\nAddress = " + inside + "/24, fd66::1/64\nListenPort = 51820\nDNS = " + resolver + "\n")
	if err != nil {
		t.Fatal(err)
	}
	var addrs options
	_ = each("10.66.0.2,fd66::2", func(s string) error {
		p, err := parsePrefix(s)
		addrs.client = append(addrs.client, p)
		return err
	})
	client, section, err := server.newClient(addrs.client, here+":51820")
	if err != nil {
		t.Fatal(err)
	}
	server.peers = append(server.peers, *section)
	return server, client
}

// startServer runs this test binary as wgserver, by an unprivileged user.
func startServer(t *testing.T, in netnstest.NetNS, cfg *config) (*exec.Cmd, *netnstest.Lines) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wgserver-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name, program := filepath.Join(dir, "wg0.conf"), filepath.Join(dir, "wgserver")
	self, err := os.Executable()
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(self)
	}
	if err == nil {
		err = os.WriteFile(program, b, 0o755)
	}
	if err == nil {
		err = os.WriteFile(name, []byte(cfg.String()), 0o600)
	}
	if err == nil {
		err = os.Chown(name, nobody, nobody)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{
		Path: program, Args: []string{programName, "-config", name}, Dir: "/",
		Env:         append(os.Environ(), "GORACE=atexit_sleep_ms=1"),
		SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}},
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	in.Start(t, cmd)
	return cmd, netnstest.Follow(stderr)
}

// realPeer is wireguard-go's program with its interface.
type realPeer struct{ name string }

// startPeer builds wireguard-go's program from the module and runs it.
func startPeer(t *testing.T, in netnstest.NetNS, cfg *config) *realPeer {
	t.Helper()
	program := filepath.Join(t.TempDir(), "wireguard-go")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "golang.zx2c4.com/wireguard").CombinedOutput(); err != nil {
		t.Fatalf("wireguard-go does not build: %v\n%s", err, out)
	}
	p := &realPeer{fmt.Sprintf("wgt%d", os.Getpid())}
	cmd := exec.Command(program, "-f", p.name)
	cmd.Env = append(os.Environ(), "WG_PROCESS_FOREGROUND=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	in.Start(t, cmd)
	t.Cleanup(func() { os.Remove(p.socket()) })
	out := netnstest.Follow(stdout)
	for late := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // until it listens: nothing tells
		if _, err := os.Stat(p.socket()); err == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("wireguard-go does not come up:\n%s", out)
		}
	}
	p.set(t, cfg.device())
	return p
}

func (p *realPeer) socket() string { return "/var/run/wireguard/" + p.name + ".sock" }

// set changes its configuration.
func (p *realPeer) set(t *testing.T, text string) {
	t.Helper()
	c, err := net.Dial("unix", p.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "set=1\n%s\n", text)
	if said, err := bufio.NewReader(c).ReadString('\n'); said != "errno=0\n" {
		t.Fatalf("wireguard-go: %q, %v", said, err)
	}
}

// body is n bytes that are the same every time and do not repeat.
func body(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte([]byte("the body of wgserver's e2e tests"))), n)
}

// serveBody answers HTTP with a body of bodySize, whose sum it returns. That of /slow
// stops after half of it, says so, and goes on when it is told.
func serveBody(t *testing.T, in netnstest.NetNS) (sum string, half chan struct{}, release chan struct{}) {
	t.Helper()
	h := sha256.New()
	_, _ = io.Copy(h, body(*bodySize))
	half, release = make(chan struct{}), make(chan struct{})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(*bodySize))
		all := body(*bodySize)
		if r.URL.Path == "/slow" {
			_, _ = io.CopyN(w, all, *bodySize/2)
			w.(http.Flusher).Flush()
			close(half)
			<-release
		}
		_, _ = io.Copy(w, all)
	})}
	for _, host := range []string{srv4, srv6} {
		go web.Serve(in.Listen(t, net.JoinHostPort(host, "80"))) // until the server is closed
	}
	t.Cleanup(func() { web.Close() })
	return fmt.Sprintf("%x", h.Sum(nil)), half, release
}

// fetch returns the SHA-256 of what curl gets.
func fetch(t *testing.T, in netnstest.NetNS, url string) string {
	t.Helper()
	sum := sha256.New()
	in.Do(t, func() error {
		cmd := exec.CommandContext(t.Context(), "curl", "-sS", "--max-time", "120", url)
		cmd.Stdout, cmd.Stderr = sum, os.Stderr
		if err := cmd.Run(); err != nil {
			t.Error("curl:", err) // not Fatal: it may not be the test's goroutine
		}
		return nil
	})
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// serveNames answers every question with srv4, over UDP and TCP.
func serveNames(t *testing.T, in netnstest.NetNS) {
	t.Helper()
	answer := func(query []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(query) != nil || len(m.Questions) != 1 {
			return nil
		}
		q := m.Questions[0]
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(srv4).To4())},
		}}
		b, _ := m.Pack()
		return b
	}
	pc := in.ListenPacket(t, resolver+":53")
	go func() { // ends with pc
		b := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(answer(b[:n]), from)
		}
	}()
	ln := in.Listen(t, resolver+":53")
	go func() { // ends with ln
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			var size [2]byte
			_, _ = io.ReadFull(c, size[:])
			b := make([]byte, int(size[0])<<8|int(size[1]))
			_, _ = io.ReadFull(c, b)
			b = answer(b)
			_, _ = c.Write(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...))
			c.Close()
		}
	}()
}

// iperf3 sends datagrams for a second, which arrive.
func iperf3(t *testing.T, servers, clients netnstest.NetNS) {
	t.Helper()
	cmd := exec.Command("iperf3", "-s", "-1", "-B", srv4, "--forceflush")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	servers.Start(t, cmd)
	netnstest.Follow(out).Await(t, "Server listening")
	var result struct {
		End struct {
			Sum struct {
				Packets     int     `json:"packets"`
				LostPercent float64 `json:"lost_percent"`
				Bits        float64 `json:"bits_per_second"`
			} `json:"sum"`
		} `json:"end"`
	}
	said := clients.Output(t, "iperf3", "-c", srv4, "-u", "-b", "50M", "-l", "1200", "-t", "1", "-J")
	if err := json.Unmarshal(bytes.TrimSpace([]byte(said)), &result); err != nil {
		t.Fatalf("iperf3: %v\n%s", err, said)
	}
	s := result.End.Sum
	t.Logf("iperf3 -u: %d packets, %.2f %% lost, %.1f Mbit/s", s.Packets, s.LostPercent, s.Bits/1e6)
	if s.Packets < 100 || s.LostPercent > 50 {
		t.Errorf("iperf3: %+v", s)
	}
}
