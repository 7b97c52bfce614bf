package sshtunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/internal/realproxy"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

const somewhere = "192.0.2.1:80"

func closeIt(t *testing.T, d *Dialer) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestOpenSSH: the server that people run, with a key and known hosts, killed and
// started again.
func TestOpenSSH(t *testing.T) {
	s := realproxy.NewSSHD(t)
	key, err := os.ReadFile(s.Key)
	if err != nil {
		t.Fatal(err)
	}
	d := &Dialer{Address: s.Address, User: s.User, PrivateKey: key, KnownHosts: []string{s.KnownHosts}}
	defer closeIt(t, d)
	echo := realproxy.Echo(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(echo)
	for _, address := range []string{echo, realproxy.Echo(t, "[::1]:0"), "localhost:" + port} {
		c, err := d.DialContext(fakeproxy.Soon(t), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fakeproxy.WantEcho(t, c)
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
		_ = c.Close()
	}
	for address, want := range map[string]error{
		realproxy.Closed(t): syscall.ECONNREFUSED, "127.0.0.66:80": syscall.EACCES, "[2001:db8::1]:1": syscall.EACCES,
	} {
		if _, err := d.DialContext(fakeproxy.Soon(t), "tcp", address); !errors.Is(err, want) || errors.Is(err, outbound.ErrProxy) {
			t.Errorf("%s: %v, want %v", address, err, want)
		}
	}
	c, err := d.DialContext(fakeproxy.Soon(t), "tcp", echo)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fakeproxy.WantEcho(t, c)
	wrong, _ := newKey(t, "")
	stranger := &Dialer{Address: s.Address, User: s.User, PrivateKey: wrong, Insecure: true}
	defer closeIt(t, stranger)
	if _, err := stranger.DialContext(fakeproxy.Soon(t), "tcp", echo); !errors.Is(err, syscall.EACCES) || !errors.Is(err, outbound.ErrProxy) {
		t.Errorf("a wrong key: %v, want EACCES and ErrProxy", err)
	}
}

// TestShared: one login for all, also for those that come at once, and a new one when
// it has ended. What it carried ends with an error that is not io.EOF.
func TestShared(t *testing.T) {
	s := newServer(t, echoes)
	d := &Dialer{Address: s.address, User: "anna", Password: "s3cret", Insecure: true}
	defer closeIt(t, d)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			fakeproxy.WantEcho(t, c)
		})
	}
	wg.Wait()
	if n := s.logins.Load(); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	c, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.kill()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, errBroken) {
		t.Errorf("Read: %v, want that the SSH connection ended", err)
	}
	again, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	fakeproxy.WantEcho(t, again)
	if n := s.logins.Load(); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
	closeIt(t, d)
	if _, err := again.Write([]byte("x")); err == nil {
		t.Error("a conn lives on after Close")
	}
	_ = again.Close()
	if _, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestRetire: what is carried lives on, and the SSH connection ends with the last.
func TestRetire(t *testing.T) {
	s := newServer(t, echoes)
	d := &Dialer{Address: s.address, User: "anna", Password: "s3cret", Insecure: true}
	var conns []net.Conn
	for range 2 {
		c, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	d.Retire()
	if _, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Retire: %v", err)
	}
	for _, c := range conns {
		fakeproxy.WantEcho(t, c)
		_ = c.Close()
	}
	s.mu.Lock()
	conn := s.conns[0]
	s.mu.Unlock()
	_ = conn.Wait() // its end
	closeIt(t, d)

	idle := &Dialer{Address: s.address, User: "anna", Password: "s3cret", Insecure: true}
	idle.Retire() // before anything
	closeIt(t, idle)
}

// TestRetireMeanwhile: a dial that has found the SSH connection as the Dialer retires fails,
// and neither ends that nor hides it from Close.
func TestRetireMeanwhile(t *testing.T) {
	s := newServer(t, echoes)
	d := &Dialer{Address: s.address, User: "anna", Password: "s3cret", Insecure: true}
	c, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	cl, _, err := d.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.Retire()
	if _, err := d.open(t.Context(), cl, socksaddr.Addr{Name: "x", Port: 1}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want net.ErrClosed", err)
	}
	if n := d.opening.Load(); n != 0 {
		t.Errorf("%d channels are waited for", n)
	}
	fakeproxy.WantEcho(t, c)
	closeIt(t, d)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, errBroken) {
		t.Errorf("after Close: %v", err)
	}
	_ = c.Close()
}

// TestEndVia: the SSH connection ends if it has lost its way, and only then; the next dial
// makes another.
func TestEndVia(t *testing.T) {
	s := newServer(t, echoes)
	d := &Dialer{Address: s.address, User: "anna", Password: "s3cret", Insecure: true}
	defer closeIt(t, d)
	d.EndVia(func(netip.Addr, int) bool { return true }) // there is none yet
	dial := func() net.Conn {
		c, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	c := dial()
	var asked netip.Addr
	d.EndVia(func(local netip.Addr, _ int) bool { asked = local; return false })
	fakeproxy.WantEcho(t, c)
	if asked != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("asked about %v", asked)
	}
	d.EndVia(func(netip.Addr, int) bool { return true })
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, errBroken) {
		t.Errorf("what it carried ends with %v", err)
	}
	fakeproxy.WantEcho(t, dial())
	if n := s.logins.Load(); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

// TestConn: deadlines, Close, and addresses.
func TestConn(t *testing.T) {
	s := newServer(t, echoes)
	d := &Dialer{Address: s.address, User: "anna", Password: "s3cret", Insecure: true}
	defer closeIt(t, d)
	c, err := d.DialContext(fakeproxy.Soon(t), "tcp", "a.example:80")
	if err != nil {
		t.Fatal(err)
	}
	if c.RemoteAddr().String() != "a.example:80" || c.LocalAddr() == nil {
		t.Errorf("%v to %v", c.LocalAddr(), c.RemoteAddr())
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
	fakeproxy.WantEcho(t, c) // it is none the worse
	read := make(chan error)
	go func() {
		_ = c.SetDeadline(time.Time{})
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	_ = c.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second Close: %v", err)
	}
	c, err = d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Unix(1, 0))
	for err = nil; err == nil; {
		_, err = c.Write([]byte("x"))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write: %v", err)
	}
}

// TestRefusals: what a server says of a destination.
func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		reason  ssh.RejectionReason
		message string
		want    error
		fault   bool
	}{
		{ssh.Prohibited, "open failed", syscall.EACCES, false},
		{ssh.ConnectionFailed, "Connection refused", syscall.ECONNREFUSED, false},
		{ssh.ConnectionFailed, "Connection timed out", syscall.ETIMEDOUT, false},
		{ssh.ConnectionFailed, "Network is unreachable", syscall.ENETUNREACH, false},
		{ssh.ConnectionFailed, "No route to host", syscall.EHOSTUNREACH, false},
		{ssh.ConnectionFailed, "\r\nwhatever s3cret", syscall.EHOSTUNREACH, false},
		{ssh.UnknownChannelType, "", errors.ErrUnsupported, true},
		{ssh.ResourceShortage, "", outbound.ErrProxy, true},
	} {
		s := newServer(t, func(n ssh.NewChannel) { _ = n.Reject(tc.reason, tc.message) })
		d := &Dialer{Address: s.address, User: "anna", Password: "s3cret", Insecure: true}
		_, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
		if !errors.Is(err, tc.want) || errors.Is(err, outbound.ErrProxy) != tc.fault || strings.ContainsAny(err.Error(), "\r\n") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v %q: %v, want %v", tc.reason, tc.message, err, tc.want)
		}
		closeIt(t, d)
	}
}

// TestBlackHole: a destination that does not answer is in nobody's way, and what is
// answered late is closed.
func TestBlackHole(t *testing.T) {
	late := make(chan ssh.NewChannel, 1)
	ended := make(chan struct{})
	first := true
	s := newServer(t, func(n ssh.NewChannel) {
		if first {
			first = false
			late <- n
			return
		}
		echoes(n)
	})
	d := &Dialer{Address: s.address, User: "anna", Password: "s3cret", Insecure: true}
	defer closeIt(t, d)
	ctx, cancel := context.WithCancel(fakeproxy.Soon(t))
	failed := make(chan error)
	go func() {
		_, err := d.DialContext(ctx, "tcp", somewhere)
		failed <- err
	}()
	n := <-late
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || errors.Is(err, outbound.ErrProxy) {
		t.Errorf("%v, want that it was cancelled", err)
	}
	c, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	fakeproxy.WantEcho(t, c)
	_ = c.Close()
	go func() { // ends with the channel
		defer close(ended)
		ch, requests, err := n.Accept()
		if err != nil {
			return
		}
		ssh.DiscardRequests(requests)
		_ = ch.Close()
	}()
	select {
	case <-ended:
	case <-time.After(fakeproxy.Patience):
		t.Error("a channel that nobody waits for stays open")
	}
}

// TestHostKeys: who is believed.
func TestHostKeys(t *testing.T) {
	s := newServer(t, echoes)
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	_, other := newKey(t, "")
	ed, ec := s.keys[ssh.KeyAlgoED25519], s.keys[ssh.KeyAlgoECDSA256]
	edOnly := file("ed", knownhosts.Line([]string{s.address}, ed)+"\n")
	ecOnly := file("ec", knownhosts.Line([]string{s.address}, ec)+"\n")
	wrong := file("wrong", knownhosts.Line([]string{s.address}, other)+"\n")
	empty := file("empty", "")
	revoked := file("revoked", "@revoked "+knownhosts.Line([]string{s.address}, ed)+"\n"+knownhosts.Line([]string{s.address}, ed)+"\n")
	for _, tc := range []struct {
		name string
		d    *Dialer
		want string // "": no error
	}{
		{"known", &Dialer{KnownHosts: []string{edOnly}}, ""},
		{"known by another key", &Dialer{KnownHosts: []string{ecOnly}}, ""},
		{"in the second file", &Dialer{KnownHosts: []string{empty, edOnly}}, ""},
		{"changed", &Dialer{KnownHosts: []string{wrong}}, "in between"},
		{"unknown", &Dialer{KnownHosts: []string{empty}}, ssh.FingerprintSHA256(ed)},
		{"revoked", &Dialer{KnownHosts: []string{revoked}}, "revoked"},
		{"no file", &Dialer{KnownHosts: []string{dir + "/none"}}, "no such file"},
		{"fingerprint", &Dialer{Fingerprint: ssh.FingerprintSHA256(ed)}, ""},
		{"other fingerprint", &Dialer{Fingerprint: ssh.FingerprintSHA256(other)}, ssh.FingerprintSHA256(ed)},
		{"no fingerprint", &Dialer{Fingerprint: "MD5:00"}, "SHA256"},
		{"insecure", &Dialer{Insecure: true}, ""},
	} {
		tc.d.Address, tc.d.User, tc.d.Password = s.address, "anna", "s3cret"
		c, err := tc.d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && err == nil:
			t.Errorf("%s is no error", tc.name)
		case err != nil && (!strings.Contains(err.Error(), tc.want) || !errors.Is(err, outbound.ErrProxy)):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
		if err == nil {
			_ = c.Close()
		} else if strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%s: %q", tc.name, err)
		}
		closeIt(t, tc.d)
	}
	t.Setenv("HOME", dir)
	d := &Dialer{Address: s.address, User: "anna", Password: "s3cret"}
	defer closeIt(t, d)
	if _, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without any known host: %v", err)
	}
}

// TestLogin: what goes wrong before, without the password in what is said of it.
func TestLogin(t *testing.T) {
	s := newServer(t, echoes)
	plain, _ := newKey(t, "")
	locked, _ := newKey(t, "hunter2")
	for _, tc := range []struct {
		d    *Dialer
		want string
	}{
		{&Dialer{User: "anna", Password: "hunter2"}, "refuses the user name"},
		{&Dialer{User: "anna", PrivateKey: plain}, "refuses the user name"},
		{&Dialer{User: "anna", PrivateKey: locked, Passphrase: "hunter2"}, "refuses the user name"},
		{&Dialer{User: "anna", PrivateKey: locked}, "no passphrase"},
		{&Dialer{User: "anna", PrivateKey: locked, Passphrase: "hunter3"}, "may be wrong"},
		{&Dialer{User: "anna", PrivateKey: []byte("hunter2")}, "cannot be read"},
		{&Dialer{User: "anna"}, "neither a password nor a key"},
		{&Dialer{Password: "hunter2"}, "no user name"},
	} {
		tc.d.Address, tc.d.Insecure = s.address, true
		_, err := tc.d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
		if !errors.Is(err, outbound.ErrProxy) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%v, want %q", err, tc.want)
		}
		closeIt(t, tc.d)
	}
}

// TestLies: servers that are none.
func TestLies(t *testing.T) {
	for name, say := range map[string]func(c *net.TCPConn){
		"end":    func(*net.TCPConn) {},
		"reset":  func(c *net.TCPConn) { _ = c.SetLinger(0) },
		"junk":   func(c *net.TCPConn) { _, _ = io.WriteString(c, strings.Repeat("junk\r\n", 100000)) },
		"long":   func(c *net.TCPConn) { _, _ = io.WriteString(c, strings.Repeat("x", 1<<20)) },
		"HTTP":   func(c *net.TCPConn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"banner": func(c *net.TCPConn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff") },
		"old":    func(c *net.TCPConn) { _, _ = io.WriteString(c, "SSH-1.5-x\r\n") },
	} {
		d := &Dialer{User: "anna", Password: "s3cret", Insecure: true, Address: fakeproxy.Serve(t, func(c *net.TCPConn) {
			say(c)
			_ = c.CloseWrite()
		})}
		_, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
		if !errors.Is(err, outbound.ErrProxy) || strings.ContainsAny(err.Error(), "\r\n") || strings.Contains(err.Error(), "s3cret") || len(err.Error()) > 300 {
			t.Errorf("%s: %v", name, err)
		}
		closeIt(t, d)
	}
	silent := fakeproxy.Serve(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	d := &Dialer{Address: silent, User: "anna", Password: "s3cret", Insecure: true, Timeout: 50 * time.Millisecond}
	defer closeIt(t, d)
	if _, err := d.DialContext(t.Context(), "tcp", somewhere); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, outbound.ErrProxy) {
		t.Errorf("silence: %v, want a time-out that is the server's fault", err)
	}
	hung := &Dialer{Address: silent, User: "anna", Password: "s3cret", Insecure: true}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hung.DialContext(ctx, "tcp", somewhere); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
	closeIt(t, hung) // ends the login that goes on
}

// TestKeepAlive: a server that answers no more is given up.
func TestKeepAlive(t *testing.T) {
	gone := make(chan struct{})
	s := newServer(t, echoes)
	d := &Dialer{Address: s.address, User: "anna", Password: "s3cret", Insecure: true, KeepAlive: 50 * time.Millisecond,
		Dialer: fakeproxy.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			return &deaf{Conn: c, gone: gone}, err
		})}
	defer closeIt(t, d)
	c, err := d.DialContext(fakeproxy.Soon(t), "tcp", somewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fakeproxy.WantEcho(t, c)
	_ = c.SetDeadline(time.Now().Add(fakeproxy.Patience))
	close(gone)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, errBroken) {
		t.Errorf("%v, want that the SSH connection ended", err)
	}
}

// deaf hears nothing any more once gone is closed.
type deaf struct {
	net.Conn
	gone chan struct{}
}

func (d *deaf) Read(b []byte) (int, error) {
	for {
		n, err := d.Conn.Read(b)
		select {
		case <-d.gone:
			if err != nil {
				return 0, err
			}
		default:
			return n, err
		}
	}
}
