package main

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// capture is what tcpdump sees outside.
type capture struct {
	w   *world
	out io.Reader
}

// capture starts tcpdump on everything outside but what neighbours tell each other.
func (w *world) capture(t *testing.T) *capture {
	t.Helper()
	dump := exec.Command("tcpdump", "-n", "-l", "-i", "any", "--immediate-mode", "not arp and not (ip6 and (ip6[6] == 0 or ip6[6] == 58))")
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
	return &capture{w, out}
}

// only fails the test for each packet that allowed does not match, and returns how many
// there were: up to one of its own that is surely behind all others.
func (c *capture) only(t *testing.T, allowed string) (seen int) {
	t.Helper()
	last := c.w.outside.listenPacket(t, out4+":0")
	seenLast, ended := make(chan struct{}), make(chan struct{})
	go func() { // awaited below: tcpdump may miss one packet where the machine is busy
		defer close(ended)
		for again := time.NewTicker(time.Second); ; {
			if _, err := last.WriteTo([]byte("last"), &net.UDPAddr{IP: net.ParseIP(srv4), Port: 9}); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Error(err)
			}
			select {
			case <-again.C:
			case <-seenLast:
				again.Stop()
				return
			}
		}
	}()
	defer func() { close(seenLast); <-ended }()
	re := regexp.MustCompile(allowed)
	for packets := bufio.NewScanner(c.out); packets.Scan(); seen++ {
		if strings.Contains(packets.Text(), "> 10.77.0.2.9:") {
			break
		}
		if !re.MatchString(packets.Text()) {
			t.Errorf("seen outside: %s", packets.Text())
		}
	}
	return seen
}

// toProxy are the packets between l3run and the proxy.
const toProxy = `(10\.77\.0\.1\.\d+ > 10\.77\.0\.2\.1080|10\.77\.0\.2\.1080 > 10\.77\.0\.1\.\d+): `

// By a proxy that carries TCP only everything works but UDP, and outside there is nothing
// but the way to the proxy: no query, no datagram, no ping, whatever the command does.
func TestProxy(t *testing.T) {
	need(t, "curl", "dig", "getent", "microsocks", "nc", "ping", "tcpdump")
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		w.serveBody(t, 100_000)
		w.serveDNS(t) // for the proxy
		w.servers.serve(t, c.command(t, "microsocks", "-i", srv4, "-p", "1080"))
		w.servers.waitPort(t, srv4+":1080")
		dump := w.capture(t)
		for _, tc := range []struct{ command, want string }{
			{"curl -sS -o /dev/null -w '%{http_code} %{size_download}' http://www.test/", "^200 100000$"},
			{"curl -sS -4 -o /dev/null -w '%{http_code} %{remote_ip}' http://www.test/", `^200 198\.1[89]\.`},
			{"curl -sS -6 -o /dev/null -w '%{http_code} %{remote_ip}' http://www.test/", `^200 fd6c:3366:616b:6500::`},
			{"curl -sS -o /dev/null -w '%{http_code}' http://" + srv4 + "/", "^200$"},
			{"curl -sS -g -o /dev/null -w '%{http_code}' 'http://[" + srv6 + "]/'", "^200$"},
			{"dig +short www.test", `^198\.1[89]\.[\d.]+\n$`},
			{"dig +short AAAA www.test @8.8.8.8", `^fd6c:3366:616b:6500::[0-9a-f:]+\n$`},
			{"dig +tcp +short www.test @2001:4860:4860::8888", `^198\.1[89]\.[\d.]+\n$`},
			{"dig +short -x $(dig +short www.test)", `^www\.test\.\n$`},
			{"dig MX www.test", "NOERROR"},
			{"getent ahosts www.test | cut -d' ' -f1 | sort -u | wc -l", "^2\n$"},
			{"grep -c ^search /etc/resolv.conf", "^0\n$"},
			{"curl -sS http://nothing.test/ || echo $?", "^(7|97)\n$"},      // the proxy cannot reach it
			{"curl -sS http://198.19.255.254/ || echo $?", "^7\n$"},         // stands for no name
			{"echo hi | nc -u -w 1 www.test 7777; echo $?", "^[01]\n$"},     // no UDP
			{"echo hi | nc -u -w 1 " + srv4 + " 7777; echo $?", "^[01]\n$"}, // nor to an address
			{"ping -c 1 -W 1 " + srv4 + " >/dev/null; echo $?", "^[12]\n$"}, // no pings
			{"ping -c 1 -W 1 www.test >/dev/null; echo $?", "^[12]\n$"},     // and no false answers
			{"dig +tries=1 +time=2 -p 5353 @" + srv4 + " www.test", "timed out|refused|no servers|communications error"},
		} {
			r := w.outside.run(t, c.l3run(t, "-proxy", "socks5://"+srv4, "--", "sh", "-c", tc.command))
			if !regexp.MustCompile(tc.want).MatchString(r.out) {
				t.Errorf("%s: got %q, want %s\n%s", tc.command, r.out, tc.want, r.errout)
			}
		}
		if n := dump.only(t, toProxy); n < 50 {
			t.Errorf("tcpdump saw %d packets, which cannot be all", n)
		}
	})
}

// TestProxyDown: without the proxy nothing gets out, and the command is told at once.
func TestProxyDown(t *testing.T) {
	need(t, "curl", "dig", "tcpdump")
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		w.serveBody(t, 10)
		w.serveDNS(t)
		dump := w.capture(t)
		for _, command := range []string{
			"curl -sS http://www.test/", "curl -sS http://" + srv4 + "/", "curl -sS -g 'http://[" + srv6 + "]/'",
		} {
			r := w.outside.run(t, c.l3run(t, "-proxy", "socks5://"+srv4, "--", "sh", "-c", command+"; echo $?"))
			if r.out != "7\n" {
				t.Errorf("%s: got %q\n%s", command, r.out, r.errout)
			}
		}
		r := w.outside.run(t, c.l3run(t, "-proxy", "socks5://"+srv4, "-dns", srv4, "--", "dig", "+tries=1", "+time=30", "MX", "www.test"))
		if !strings.Contains(r.out, "SERVFAIL") {
			t.Errorf("got %s%s", r.out, r.errout)
		}
		if n := dump.only(t, toProxy); n < 8 {
			t.Errorf("tcpdump saw %d packets, which cannot be all", n)
		}
		r = w.outside.run(t, c.l3run(t, "-proxy", "socks5://user:secret@nowhere.test", "--", "true"))
		if r.code != exitSetup || !strings.Contains(r.errout, "nowhere.test") || strings.Contains(r.errout, "secret") {
			t.Errorf("a proxy that nobody knows: %d %q", r.code, r.errout)
		}
	})
}

// TestProxyDNS: resolvers that are named are asked over the proxy.
func TestProxyDNS(t *testing.T) {
	need(t, "dig", "microsocks", "tcpdump")
	w := newWorld(t)
	asked := w.serveDNS(t)
	c := newCaller(t, 0)
	w.servers.serve(t, c.command(t, "microsocks", "-i", srv4, "-p", "1080"))
	w.servers.waitPort(t, srv4+":1080")
	dump := w.capture(t)
	r := w.outside.run(t, c.l3run(t, "-proxy", "socks5://"+srv4+"?udp=false", "-dns", srv4, "--", "sh", "-c", "dig +short www.test; dig MX nothing.test"))
	if !regexp.MustCompile(`^198\.1[89]\.`).MatchString(r.out) || !strings.Contains(r.out, "NXDOMAIN") {
		t.Errorf("got %s%s", r.out, r.errout)
	}
	if names := asked(); len(names) != 1 || names[0] != "nothing.test." {
		t.Errorf("asked for %q", names)
	}
	if n := dump.only(t, toProxy); n < 8 {
		t.Errorf("tcpdump saw %d packets, which cannot be all", n)
	}
}

// TestProxyUDP: a proxy that carries datagrams gets them, to names by their names.
func TestProxyUDP(t *testing.T) {
	need(t, "danted", "nc", "tcpdump")
	w := newWorld(t)
	w.serveDNS(t)
	c := newCaller(t, 0)
	c.Files["/etc/danted.conf"] = `logoutput: stderr
internal: ` + srv4 + ` port = 1080
external: ` + srv4 + `
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
`
	w.servers.serve(t, c.command(t, "danted", "-f", "/etc/danted.conf"))
	w.servers.waitPort(t, srv4+":1080")
	echo := w.servers.listenPacket(t, srv4+":7777")
	go func() { // ended by Close of echo
		b := make([]byte, 1500)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(append([]byte("you said "), b[:n]...), from)
		}
	}()
	dump := w.capture(t)
	for _, host := range []string{"www.test", srv4} {
		r := w.outside.run(t, c.l3run(t, "-proxy", "socks5://"+srv4, "--", "sh", "-c", "echo hello | nc -4 -u -W 1 -w 20 "+host+" 7777"))
		if r.out != "you said hello\n" {
			t.Errorf("%s: got %q\n%s", host, r.out, r.errout)
		}
	}
	// The datagrams go by a port that the proxy chooses.
	if n := dump.only(t, toProxy+`|IP 10\.77\.0\.[12]\.\d{4,5} > 10\.77\.0\.[12]\.\d{4,5}: UDP, `); n < 8 {
		t.Errorf("tcpdump saw %d packets, which cannot be all", n)
	}
}

// TestProxyLastBytes: what a command wrote before it ended arrives by a proxy too, also by
// one whose socket cannot tell.
func TestProxyLastBytes(t *testing.T) {
	need(t, "bash", "microsocks")
	const size = 1 << 20
	w := newWorld(t)
	c := newCaller(t, 0)
	w.servers.serve(t, c.command(t, "microsocks", "-i", srv4, "-p", "1080"))
	w.servers.waitPort(t, srv4+":1080")
	path := filepath.Join(c.Home, "proxy")
	w.relayUnix(t, path, srv4+":1080")
	for _, proxy := range []string{"socks5://" + srv4, "socks5://" + path} {
		ln := w.servers.listen(t, net.JoinHostPort(srv4, "9001"))
		sum := make(chan string)
		go func() { // awaited below
			c, err := ln.Accept()
			if err != nil {
				sum <- err.Error()
				return
			}
			defer c.Close()
			h := sha256.New()
			_, err = io.Copy(h, c)
			sum <- fmt.Sprintf("%x %v", h.Sum(nil), err)
		}()
		cmd := c.l3run(t, "-proxy", proxy, "--", "bash", "-c", "exec 3>/dev/tcp/"+srv4+"/9001; cat >&3")
		cmd.Stdin = body(size)
		r := w.outside.run(t, cmd)
		if got, want := <-sum, sumOf(t, body(size))+" <nil>"; r.code != 0 || got != want {
			t.Errorf("%s: exit %d, the server got %s, want %s\n%s", proxy, r.code, got, want, r.errout)
		}
		ln.Close()
	}
}

// relayUnix makes a Unix socket of a port in servers.
func (w *world) relayUnix(t *testing.T, path, address string) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group // awaited by the cleanup
	t.Cleanup(func() { ln.Close(); _ = g.Wait() })
	pour := func(to, from net.Conn) error {
		_, err := io.Copy(to, from)
		return errors.Join(err, to.(interface{ CloseWrite() error }).CloseWrite())
	}
	g.Go(func() error {
		for {
			c, err := ln.Accept()
			if err != nil {
				return err
			}
			var up net.Conn
			w.servers.do(t, func() (err error) {
				up, err = net.Dial("tcp", address)
				return err
			})
			var both errgroup.Group // awaited below
			both.Go(func() error { return pour(up, c) })
			both.Go(func() error { return pour(c, up) })
			g.Go(func() error { return errors.Join(both.Wait(), c.Close(), up.Close()) })
		}
	})
}
