package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "-device is missing"},
		{"-device tap://a", "only tun:// is"},
		{"-device tun://", "a name is missing"},
		{"-device a -proxy socks5://127.0.0.1:1080", "only direct:// is supported for now"},
		{"-device a -mtu 68", "want 1280 to 65535"},
		{"-device a -fwmark x", "a number of 32 bits"},
		{"-device a -loglevel loud", "want debug, info"},
		{"-device a -drain -1s", "negative"},
		{"-device a -workers 0", "want 1 to 256"},
		{"-device a -workers 257", "want 1 to 256"},
		{"-device a -queue -3", "negative"},
		{"-device a -memory much", "as 64MiB"},
		{"-device a -memory -5", "as 64MiB"},
		{"-device a -memory 9999999999G", "as 64MiB"},
		{"-device a -memory 1K", "at least 8MiB"},
		{"-device a b", `unexpected argument "b"`},
		{"-nothing", "not defined"},
	} {
		var stdout, stderr bytes.Buffer
		code := command(t.Context(), strings.Fields(c.args), &stdout, &stderr)
		if got := stderr.String(); code != exitUsage || !strings.Contains(got, c.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q; want %d and one line with %q", c.args, code, got, exitUsage, c.want)
		}
	}
}

func TestRightCommandLine(t *testing.T) {
	o, err := parseOptions(strings.Fields("-device tun://tun7 -proxy direct:// -mtu 9000 -interface eth0 -fwmark 0x1f "+
		"-loglevel silent -drain 3s -workers 4 -memory 64MiB"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (options{device: "tun7", mtu: 9000, via: "eth0", mark: 31, level: silent, drain: 3e9, workers: 4, memory: 64 << 20}); *o != want {
		t.Errorf("got %+v, want %+v", *o, want)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for arg, want := range map[string]string{"-help": "-fwmark MARK", "-version": "tun2socks of l3extract"} {
		var stdout, stderr bytes.Buffer
		if code := command(t.Context(), []string{arg}, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), want) {
			t.Errorf("%s: exit code %d, %q", arg, code, stdout.String())
		}
	}
}
