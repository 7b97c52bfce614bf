package main

import (
	"flag"
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

// Where the servers are outside.
const (
	srv4, srv6 = "192.0.2.80", "2001:db8::80"
	resolver   = "192.0.2.53"
	page       = "the page that the guest is after\n"
)

var bodySize = flag.Int64("vmnet.mib", 16, "MiB that curl fetches through a tap, for each IP version")

// body is bytes that are the same every time and do not repeat.
func body() io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte([]byte("the body of vmnet's tests on taps"[:32]))), *bodySize<<20)
}

// world is a namespace with a web server and a resolver, in which vmnet runs.
type world struct {
	netnstest.NetNS
	program *exec.Cmd
	log     *netnstest.Lines
}

// newWorld starts vmnet there, with a resolv.conf that names the resolver.
func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	w := &world{NetNS: netnstest.New(t)}
	w.IP(t, "link set lo up", "addr add "+srv4+"/32 dev lo", "addr add "+srv6+"/128 dev lo nodad", "addr add "+resolver+"/32 dev lo")
	w.Sysctl(t, "ipv4/ping_group_range", "0 2147483647")
	web := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.Copy(out, body())
			return
		}
		_, _ = io.WriteString(out, page)
	})}
	for _, host := range []string{srv4, srv6} {
		go web.Serve(w.Listen(t, net.JoinHostPort(host, "80"))) // until the server is closed
	}
	t.Cleanup(func() { web.Close() })
	serveNames(t, w.NetNS)

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.program = withResolver(write(t, "resolv.conf", "nameserver "+resolver+"\n"), append([]string{self}, args...)...)
	w.program.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=1")
	stderr, err := w.program.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.Start(t, w.program)
	w.log = netnstest.Follow(stderr)
	w.log.Await(t, "msg=serving")
	return w
}

// end has vmnet end in good order, and shows its summary.
func (w *world) end(t *testing.T) (summary string) {
	t.Helper()
	if err := w.program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	summary = w.log.Await(t, "msg=summary")
	<-w.log.Ended()
	if err := w.program.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit code 0\n%s", err, w.log)
	}
	t.Logf("vmnet:\n%s", w.log)
	return summary
}

// withResolver is a command that sees file in place of /etc/resolv.conf.
func withResolver(file string, args ...string) *exec.Cmd {
	return exec.Command("unshare", append([]string{"-m", "sh", "-c",
		`mount --bind "$0" /etc/resolv.conf && exec "$@"`, file}, args...)...)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// serveNames answers every question about www.test.
func serveNames(t *testing.T, in netnstest.NetNS) {
	t.Helper()
	pc := in.ListenPacket(t, resolver+":53")
	go func() { // ends with pc
		b := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			if a := answerName(b[:n]); a != nil {
				_, _ = pc.WriteTo(a, from)
			}
		}
	}()
}

func answerName(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
	switch {
	case q.Name.String() != "www.test.":
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: [4]byte(net.ParseIP(srv4).To4())}}}
	case q.Type == dnsmessage.TypeAAAA:
		m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(net.ParseIP(srv6))}}}
	}
	b, _ := m.Pack()
	return b
}

// until asks for text until it is there: nothing tells when the kernel has done something.
func until(t *testing.T, what string, there func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !there(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("in vain: ", what)
		}
	}
}

// fields is the part of a line of the log that tests look at.
func fields(line string, names ...string) (all []string) {
	for _, f := range strings.Fields(line) {
		for _, n := range names {
			if strings.HasPrefix(f, n+"=") {
				all = append(all, f)
			}
		}
	}
	return all
}

// leaseScript is what udhcpc runs: it does what a distribution's does, and writes a
// resolv.conf to $RESOLV.
const leaseScript = `#!/bin/sh
case "$1" in
bound|renew)
	ip addr flush dev "$interface" scope global
	ip addr add "$ip/$mask" dev "$interface"
	ip link set "$interface" mtu "${mtu:-1500}"
	ip route replace default via "$router"
	for d in $dns; do echo "nameserver $d"; done > "$RESOLV"
	echo "search $domain" >> "$RESOLV"
	;;
esac
`

// config is the contents of a file that a program under test has written.
func config(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
