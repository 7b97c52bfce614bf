package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"l3extract/examples/tun2socks/internal/config"
	"l3extract/examples/tun2socks/internal/ways"
)

// run is command with an empty standard input.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = command(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "-device: is missing"},
		{"-nothing", "not defined"},
		{"-device a -proxy socks9://h:1", `-proxy: proxyurl: socks9://h:1: there is no scheme "socks9"`},
		{"-device a -proxy socks5://joe:sesame@h:port", "-proxy"},
		{"-device a -dns udp://1.1.1.1:port", "-dns"},
		{"-status -device a", "needs a terminal"},
		{"-status", "needs a terminal"},
	} {
		code, stdout, stderr := run(t, strings.Fields(c.args)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "sesame") {
			t.Errorf("%q: exit code %d, %q; want %d and one line with %q", c.args, code, stderr, exitUsage, c.want)
		}
	}
}

func TestWrongFiles(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"rules: [{domain: ['*bad'], outbound: direct}]", `:1:19: rules[0].domain[0] "*bad"`},
		{"outbounds: [{name: x, url: 'socks9://h'}]", ":1:28: outbounds[0].url: proxyurl"},
		{"outbounds: [{name: x, url: 'socks5://a@h', username: b}]", "say the credentials in the url or beside it"},
		{"dns: {servers: ['tls://']}", "dns.servers[0]"},
		{"dns: {servers: ['udp://9.9.9.9'], rules: [{domain: ['a..b'], servers: ['udp://9.9.9.9']}]}", "dns: "},
	} {
		name := filepath.Join(t.TempDir(), "t.yaml")
		if err := os.WriteFile(name, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := run(t, "-device", "a", "-check", "-config", name)
		if code != exitUsage || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q; want %d and one line with %q", c.file, code, stderr, exitUsage, c.want)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for arg, want := range map[string]string{"-help": "-fwmark MARK", "--version": "tun2socks of l3extract"} {
		if code, stdout, _ := run(t, arg); code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit code %d, %q", arg, code, stdout)
		}
	}
}

// TestSamples: the file beside this one and that of the README are right.
func TestSamples(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the sample has auto-route, which needs Linux")
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(readme)
	if m == nil {
		t.Fatal("the README has no file")
	}
	name, secret := filepath.Join(t.TempDir(), "t.yaml"), filepath.Join(t.TempDir(), "p")
	text := strings.ReplaceAll(string(m[1]), "/etc/tun2socks.password", secret)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{name, "tun2socks.yaml"} {
		code, stdout, stderr := run(t, "-config", file, "-check")
		if code != 0 || strings.Contains(stdout, "sesame") || file == name && !strings.Contains(stdout, "# sniff: ") {
			t.Errorf("%s: exit code %d, %s%s", file, code, stdout, stderr)
		}
		again := filepath.Join(t.TempDir(), "again.yaml") // what is printed is a file, too
		if err := os.WriteFile(again, []byte(strings.ReplaceAll(stdout, "password-file", "#")), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, second, stderr := run(t, "-config", again, "-check"); code != 0 || strings.Count(second, "\n") < strings.Count(stdout, "\n")-2 {
			t.Errorf("what -check prints: exit code %d, %s", code, stderr)
		}
	}
}

// TestNames: the names of outbounds that need no definition are those that config keeps free.
func TestNames(t *testing.T) {
	for _, name := range []string{ways.Direct, ways.Reject, ways.DNS, ways.Proxy} {
		file := filepath.Join(t.TempDir(), "t.yaml")
		if err := os.WriteFile(file, []byte("device: a\noutbounds: [{name: "+name+", url: 'direct://'}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Parse([]string{"-config", file}); err == nil {
			t.Errorf("%s can be defined", name)
		}
	}
}
