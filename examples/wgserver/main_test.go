package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"l3extract/internal/leak"
)

// programName is the name under which the test binary is the program.
const programName = "wgserver (test)"

func TestMain(m *testing.M) {
	switch os.Args[0] {
	case programName:
		main()
	case flooderName:
		if err := flood(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	leak.Main(m)
}

// run runs a command line that ends by itself.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errout bytes.Buffer
	code = command(t.Context(), args, &out, &errout)
	return code, out.String(), errout.String()
}

func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "-config is missing"},
		{"-config a -endpoint x:1", "-endpoint is for -client"},
		{"-config a -client 10.0.0.0/8", "is a network"},
		{"-config a -client x", "no address"},
		{"-config a -loglevel loud", "want debug, info"},
		{"-config a -drain -1s", "negative"},
		{"-config a b", `unexpected argument "b"`},
		{"-nothing", "not defined"},
	} {
		code, _, stderr := run(t, strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q; want %d and one line with %q", c.args, code, stderr, exitUsage, c.want)
		}
	}
	if code, stdout, _ := run(t, "-help"); code != 0 || !strings.Contains(stdout, "-client ADDRESSES") {
		t.Errorf("-help: exit code %d, %q", code, stdout)
	}
}

// write makes a configuration file.
func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "wg0.conf")
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return name
}

// TestFromNothing makes a key, a server and two clients of it as a person would, and
// has each file checked.
func TestFromNothing(t *testing.T) {
	_, secret, _ := run(t, "-genkey")
	server := write(t, "[Interface]\nPrivateKey = "+secret+"Address = 10.66.0.1/24, fd66::1/64\nListenPort = 51820\n", 0o600)
	for _, address := range []string{"10.66.0.7,fd66::7", "10.66.0.8"} {
		code, client, section := run(t, "-config", server, "-client", address, "-endpoint", "vpn.example.com:51820")
		if code != 0 {
			t.Fatal(section)
		}
		f, err := os.OpenFile(server, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(section)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		ours, err := parseConfig(client)
		if err != nil {
			t.Fatalf("the client's: %v\n%s", err, client)
		}
		if len(ours.peers) != 1 || ours.peers[0].endpoint != "vpn.example.com:51820" || len(ours.dns) != 2 {
			t.Errorf("the client has %+v", ours)
		}
	}
	code, said, stderr := run(t, "-config", server, "-check")
	if code != 0 || !strings.HasSuffix(said, ": right; 2 peers\n") {
		t.Errorf("exit code %d: %s%s", code, said, stderr)
	}
	code, _, stderr = run(t, "-config", server, "-client", "10.66.0.8", "-endpoint", "x:1")
	if code != exitFailed || !strings.Contains(stderr, "10.66.0.8/32 belongs to the peer of line") {
		t.Errorf("an address twice: exit code %d, %q", code, stderr)
	}
}

// TestSecrets: a file that others may read is refused, and no error repeats a key.
func TestSecrets(t *testing.T) {
	k, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
			code, _, stderr := run(t, "-config", write(t, "[Interface]\nPrivateKey = "+k.String(), mode), "-check")
			if code != exitFailed || !strings.Contains(stderr, "chmod 600") {
				t.Errorf("mode %o: exit code %d, %q", mode, code, stderr)
			}
		}
	}
	bad := k.String()[:30]
	code, _, stderr := run(t, "-config", write(t, "[Interface]\nPrivateKey = "+bad, 0o600), "-check")
	if code != exitFailed || strings.Contains(stderr, bad) || !strings.Contains(stderr, "wg0.conf: line 2: PrivateKey:") {
		t.Errorf("a wrong key: exit code %d, %q", code, stderr)
	}
}
