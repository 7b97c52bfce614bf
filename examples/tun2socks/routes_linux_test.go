package main

import (
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestAutoRoute: the program leads this host's own traffic into its interface, its own sockets
// go around, and nothing is left behind, neither at the end nor after a crash.
func TestAutoRoute(t *testing.T) {
	w := newWorld(t)
	// The host is here, with a gateway there that has the server's address.
	w.here.ip(t, "addr del "+srv4+"/32 dev lo", "link add wan0 type veth peer name wan1",
		"link set wan1 netns "+w.there.path(), "addr add 203.0.113.2/24 dev wan0", "link set wan0 up")
	w.there.ip(t, "addr add 203.0.113.1/24 dev wan1", "link set wan1 up", "addr add "+srv4+"/32 dev lo")
	w.here.ip(t, "route add default via 203.0.113.1")
	state := t.TempDir()
	config := file(t, "t.yaml", "interface: auto\nroutes: {auto-route: true, state-dir: "+state+"}\n")
	var ln net.Listener
	w.there.do(t, func() (err error) {
		ln, err = net.Listen("tcp", srv4+":8080")
		return err
	})
	web := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "beyond") })}
	go web.Serve(ln) // until the server is closed
	defer web.Close()
	rules := func() (out string) {
		w.here.do(t, func() error {
			b, err := exec.Command("sh", "-c", "ip rule; ip -6 rule; ip route | sed 's/ linkdown//; s/ *$//'; ip route show table all proto 108; ip -6 route show table all proto 108").CombinedOutput()
			out = string(b)
			return err
		})
		return out
	}
	before := rules()
	args := []string{"-device", "t2s0", "-config", config, "-loglevel", "debug"}
	program := w.launch(t, nil, args...)
	program.await(t, "msg=serving")
	var route, body string
	w.here.do(t, func() error {
		b, err := exec.Command("ip", "route", "get", srv4).CombinedOutput()
		route = string(b)
		if err != nil {
			return err
		}
		b, err = exec.Command("curl", "-sS", "--max-time", "10", "http://"+srv4+":8080/").CombinedOutput()
		body = string(b)
		return err
	})
	if !strings.Contains(route, "dev t2s0") {
		t.Errorf("the way is %s", route)
	}
	if body != "beyond" {
		t.Errorf("curl: %q", body)
	}
	program.await(t, "to="+srv4+":8080")
	program.stop(t)
	if after := rules(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}

	killed := w.launch(t, nil, args...)
	killed.await(t, "msg=serving")
	_ = killed.Process.Signal(syscall.SIGKILL)
	<-killed.ended
	_ = killed.Wait()
	clean := w.launch(t, nil, "-cleanup", "-config", config)
	clean.end(t)
	if after := rules(); after != before {
		t.Errorf("left behind after a crash:\n%s\nbefore:\n%s", after, before)
	}
}
