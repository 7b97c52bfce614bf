package realproxy

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

// patience bounds how long a program may take to listen.
const patience = 20 * time.Second

// start runs a program until the test ends or stop is called, which is when it is
// told to and awaited. What it printed is shown if the test fails.
func start(t testing.TB, name string, args ...string) (stop func()) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // for what its children keep open
	group(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		force := time.AfterFunc(2*time.Second, func() { kill(cmd) }) // some lose a signal that comes at the wrong moment
		defer force.Stop()
		end(cmd)
		_ = cmd.Wait() // that it was ended by a signal
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out.Bytes())
		}
	})
	t.Cleanup(stop)
	return stop
}

// freePort returns a port of 127.0.0.1 that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// await returns once something listens on address.
func await(t testing.TB, network, address string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial(network, address)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nothing listens on %s: %v", address, err)
		}
	}
}

// write puts text into a file that the test owns.
func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
