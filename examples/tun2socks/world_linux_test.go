package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// world is where the program is tested whole: here are servers, proxies and the program,
// there are the clients, whose only way out is its TUN.
type world struct {
	here, there netns
	body        []byte        // of http://HOST/body
	sum         string        // its SHA-256
	dir         string        // served below http://HOST/files/
	hold        chan struct{} // closed: /slow goes on
	half        chan struct{} // receives when half of /slow was sent
}

func newWorld(t *testing.T, programs ...string) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	for _, name := range append(programs, "curl", "ip") {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	w := &world{here: newNetNS(t), there: newNetNS(t), dir: t.TempDir(), hold: make(chan struct{}), half: make(chan struct{}, 8)}
	w.body = bytes.Repeat([]byte("0123456789abcde\n"), 8<<20/16)
	w.sum = fmt.Sprintf("%x", sha256.Sum256(w.body))
	w.here.ip(t, "link set lo up", "addr add "+srv4+"/32 dev lo", "addr add "+srv6+"/128 dev lo nodad")
	w.there.ip(t, "link set lo up")
	mux := http.NewServeMux()
	mux.HandleFunc("/body", func(rw http.ResponseWriter, _ *http.Request) { rw.Write(w.body) })
	mux.HandleFunc("/slow", func(rw http.ResponseWriter, r *http.Request) {
		rw.Write(w.body[:len(w.body)/2])
		rw.(http.Flusher).Flush()
		w.half <- struct{}{}
		select {
		case <-w.hold:
			rw.Write(w.body[len(w.body)/2:])
		case <-r.Context().Done():
		}
	})
	mux.Handle("/files/", http.StripPrefix("/files/", http.FileServer(http.Dir(w.dir))))
	web := &http.Server{Handler: mux}
	for _, host := range []string{srv4, srv6} {
		go web.Serve(w.listen(t, "tcp", host, 80)) // until the server is closed
	}
	t.Cleanup(func() { web.Close() })
	return w
}

// listen opens a listener here, to the end of the test.
func (w *world) listen(t *testing.T, network, host string, port int) (ln net.Listener) {
	t.Helper()
	w.here.do(t, func() (err error) {
		ln, err = net.Listen(network, net.JoinHostPort(host, fmt.Sprint(port)))
		return err
	})
	if ln == nil {
		t.FailNow()
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// serveDNS answers for every name with the addresses of the servers, on port 53 here.
func (w *world) serveDNS(t *testing.T) {
	t.Helper()
	answer := mdns.HandlerFunc(func(rw mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg).SetReply(q)
		h := mdns.RR_Header{Name: q.Question[0].Name, Class: mdns.ClassINET, Ttl: 60, Rrtype: q.Question[0].Qtype}
		switch h.Rrtype {
		case mdns.TypeA:
			m.Answer = []mdns.RR{&mdns.A{Hdr: h, A: net.ParseIP(srv4)}}
		case mdns.TypeAAAA:
			m.Answer = []mdns.RR{&mdns.AAAA{Hdr: h, AAAA: net.ParseIP(srv6)}}
		}
		rw.WriteMsg(m)
	})
	var pc net.PacketConn
	w.here.do(t, func() (err error) {
		pc, err = net.ListenPacket("udp", srv4+":53")
		return err
	})
	for _, s := range []*mdns.Server{{PacketConn: pc, Handler: answer}, {Listener: w.listen(t, "tcp", srv4, 53), Handler: answer}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan struct{})
		go func() { defer close(done); s.ActivateAndServe() }() // awaited in the cleanup
		<-started
		t.Cleanup(func() { s.Shutdown(); <-done })
	}
}

// client runs a command of a client, with what it prints.
func (w *world) client(t *testing.T, name string, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w.there.do(t, func() error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = t.TempDir()
		var b []byte
		b, err = cmd.CombinedOutput()
		out = string(b)
		return nil
	})
	return out, err
}

// must is client, and the command has to succeed.
func (w *world) must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := w.client(t, name, args...)
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// daemon starts a program here until the test ends or stop is called.
func (w *world) daemon(t *testing.T, name string, args ...string) (stop func()) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	w.here.do(t, cmd.Start)
	if cmd.Process == nil {
		t.FailNow()
	}
	stop = sync.OnceFunc(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out.Bytes())
		}
	})
	t.Cleanup(stop)
	return stop
}

// awaitPort returns when something listens on an address here.
func (w *world) awaitPort(t *testing.T, address string) {
	t.Helper()
	w.here.do(t, func() error {
		for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			c, err := net.Dial("tcp", address)
			if err == nil {
				return c.Close()
			}
			if time.Now().After(end) {
				return err
			}
		}
	})
}

// running is a program under test, and all that it has printed.
type running struct {
	*exec.Cmd
	mu    sync.Mutex
	text  strings.Builder
	more  chan struct{} // has one when there is more text
	ended chan struct{} // closed at the end of the text
}

// start starts the program with a TUN there, and waits until it serves.
func (w *world) start(t *testing.T, args ...string) *running {
	t.Helper()
	r := w.launch(t, nil, append([]string{"-device", "tun://t2s0"}, args...)...)
	r.await(t, "msg=serving")
	w.here.ip(t, "link set t2s0 netns "+w.there.path())
	w.there.ip(t, "addr add 198.51.100.1/30 dev t2s0", "addr add fd00::1/64 dev t2s0 nodad",
		"link set t2s0 up", "route add default dev t2s0", "route add ::/0 dev t2s0")
	return r
}

// launch starts the program here with the environment env beside this one's.
func (w *world) launch(t *testing.T, env []string, args ...string) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Cmd: &exec.Cmd{Path: self, Args: append([]string{programName}, args...)}, more: make(chan struct{}, 1), ended: make(chan struct{})}
	r.Env = append(os.Environ(), env...)
	r.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	pipe, err := r.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Stdout = r.Stderr
	started, over := make(chan error), make(chan struct{})
	go func() { // ended by the cleanup: the death signal follows this thread
		runtime.LockOSThread()
		err := unix.Setns(int(w.here.f.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = r.Start()
		}
		started <- err
		<-over
	}()
	t.Cleanup(func() { close(over) })
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	go r.read(pipe) // until the program has ended
	t.Cleanup(func() {
		if r.ProcessState == nil {
			_ = r.Process.Kill()
			<-r.ended
			_ = r.Wait()
		}
		if t.Failed() {
			t.Logf("the program said:\n%s", r.said())
		}
	})
	return r
}

func (r *running) read(pipe io.Reader) {
	defer close(r.ended)
	for lines := bufio.NewReader(pipe); ; {
		line, err := lines.ReadString('\n')
		r.mu.Lock()
		r.text.WriteString(line)
		r.mu.Unlock()
		select {
		case r.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// said returns all that the program has printed.
func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// await waits until the program has printed text.
func (r *running) await(t *testing.T, text string) {
	t.Helper()
	late := time.After(patience)
	for !strings.Contains(r.said(), text) {
		select {
		case <-r.more:
		case <-r.ended:
			if strings.Contains(r.said(), text) {
				return
			}
			t.Fatalf("the program ended without %q", text)
		case <-late:
			t.Fatalf("no %q", text)
		}
	}
}

// stop ends the program in order.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.end(t)
}

// end waits for the program, which has to end well.
func (r *running) end(t *testing.T) {
	t.Helper()
	late := time.AfterFunc(patience, func() { _ = r.Process.Kill() })
	defer late.Stop()
	<-r.ended
	if err := r.Wait(); err != nil {
		t.Errorf("the program: %v", err)
	}
}

// file writes a file of the test's.
func file(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
