package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// write makes a configuration file of text and returns its name.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "t.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWrongFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "-device: is missing"},
		{"-device tap://a", "tap:// is not supported, only tun:// and fd:// are"},
		{"-device tun://", "a name is missing"},
		{"-device fd://x", "number of an open descriptor"},
		{"-device a-name-that-is-too-long", "longer than 15 bytes"},
		{"-device a -mtu 68", `-mtu "68": want 1280, which IPv6 needs, to 65535`},
		{"-device a -fwmark x", "a number of 32 bits"},
		{"-device a -loglevel loud", "want debug, info"},
		{"-device a -drain -1s", "want a time"},
		{"-device a -drain 10", "want a time with its unit"},
		{"-device a -memory many", "want a number of bytes"},
		{"-device a -memory 99999999999GiB", "want a number of bytes"},
		{"-device a -workers 0", "want 1 to 256"},
		{"-device a -workers 257", "want 1 to 256"},
		{"-device a -workers 2 -control unix:///x", "control needs 1"},
		{"-device a -queue -3", "negative"},
		{"-device a b", `"b": unexpected argument`},
		{"-device a socks5://joe:sesame@host", `"socks5://***@host": unexpected argument`},
		{"-nothing", "not defined"},
		{"-device a -proxy nobody", `-proxy "nobody": no outbound has this name`},
		{"-device a -limit tcp", "want NAME=N"},
		{"-device a -limit tpc=1", `no limit of the name "tpc"`},
		{"-device a -dns quic://1.1.1.1", `-dns "quic://1.1.1.1": want system://`},
		{"-device a -pprof", "-pprof: needs control"},
		{"-device a -control unix://run/x", "three slashes"},
		{"-device a -control http://127.0.0.1:9090", "over TCP a token is needed"},
		{"-device a -restapi 127.0.0.1:9090", "over TCP a token is needed"},
		{"-device a -restapi http://t@127.0.0.1", "want HOST:PORT"},
		{"-device a -control ftp://x", "want unix:///PATH or http://"},
		{"-device a -multicast-groups 224.0.0.251", "-multicast-groups"},
		{"-device a -control-token-file /nowhere/x -control http://127.0.0.1:1", `-control-token-file "/nowhere/x": no such file`},
		{"-device a -config /nowhere/x", "-config: open /nowhere/x: no such file"},
		{"-status -control http://127.0.0.1:1", "a token is needed"},
	} {
		_, err := Parse(strings.Fields(c.args))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v, want one line with %s", c.args, err, c.want)
		}
	}
	if _, err := Parse([]string{"-help"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-help: %v", err)
	}
}

// TestWrongFiles: what is wrong in a file is named with its line and column.
func TestWrongFiles(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"devise: a\n", `:1:1: unknown key "devise"`},
		{"device: a\nrules:\n- outbound: direct\n  prot: 80\n", `:4:3: unknown key "prot"`},
		{"device: a\nmtu: many\n", `:2:6: mtu "many": want a whole number`},
		{"device: a\nmtu: 99999999999999999999\n", `:2:6: mtu`},
		{"device: a\npprof: 7\n", `:2:8: pprof "7": want true or false`},
		{"device: a\nmtu: 12\n", `:2:6: mtu "12": want 1280`},
		{"device: a\ndrain: soon\n", `:2:8: drain "soon": want a time`},
		{"device: a\nmemory: [1]\n", `:2:9: memory: want one value`},
		{"device: a\nrules:\n- to: [10.0.0.1/8]\n  outbound: direct\n", `:3:8: rules[0].to[0] "10.0.0.1/8": bits are set behind the prefix; did you mean 10.0.0.0/8?`},
		{"device: a\nrules:\n- ports: [80-]\n  outbound: direct\n", `:3:11: rules[0].ports[0] "80-": want a port`},
		{"device: a\nrules:\n- ports: [443]\n  outbound: wrok\n", `:4:13: rules[0].outbound "wrok": no outbound has this name`},
		{"device: a\nrules:\n- ports: [443]\n", `:3:3: rules[0].outbound: is missing`},
		{"device: a\nrules:\n- network: icmp\n  ports: [1]\n  outbound: direct\n", `:4:10: rules[0].ports: icmp has no ports`},
		{"device: a\nrules:\n- network: sctp\n  outbound: direct\n", `rules[0].network "sctp": want tcp`},
		{"device: a\noutbounds:\n- {name: x, url: 'socks5://h:1'}\n- {name: y, failover: [x]}\n", `outbounds[1].check-address: is missing`},
		{"device: a\nroutes: {auto-route: true, dns: [9.9.9.9, ten]}\n", `:2:43: routes.dns[1] "ten": want an address`},
		{"device: a\nmemory: 1MiB\n", `:2:9: memory "1MiB": want at least 8MiB`},
		{"device: a\nrules:\n  outbound: direct\n", `want a sequence, not a mapping`},
		{"device: a\nproxy: work\n", `:2:8: proxy "work": no outbound has this name`},
		{"device: a\noutbounds:\n- url: socks5://h:1\n", `outbounds[0].name: is missing`},
		{"device: a\noutbounds:\n- name: direct\n  url: socks5://h:1\n", `:3:9: outbounds[0].name "direct": this name is taken`},
		{"device: a\noutbounds:\n- {name: x, url: 'socks5://h:1'}\n- {name: x, url: 'socks5://h:1'}\n", `:4:10: outbounds[1].name "x": there is another`},
		{"device: a\noutbounds:\n- name: x\n", `outbounds[0].url: is missing`},
		{"device: a\noutbounds:\n- {name: x, failover: [y], check-address: 'h:1'}\n", `outbounds[0].failover[0] "y": no outbound`},
		{"device: a\noutbounds:\n- {name: x, failover: [x], check-address: 'h:1'}\n", `is a failover, too`},
		{"device: a\noutbounds:\n- {name: x, url: 'socks5://h:1', password: a, password-env: B}\n", `say one of`},
		{"device: a\noutbounds:\n- {name: x, url: 'socks5://h:1', password-env: NO_SUCH_VARIABLE}\n", `password-env "NO_SUCH_VARIABLE": there is no such variable`},
		{"device: a\noutbounds:\n- {name: x, url: 'socks5://h:1', password-file: /nowhere}\n", `password-file "/nowhere": no such file`},
		{"device: a\ndns: {rules: [{domain: [a.example], servers: ['udp://1.1.1.1']}]}\n", `dns.servers: is missing`},
		{"device: a\ndns: {servers: ['udp://1.1.1.1'], via: x}\n", `dns.via "x": no outbound`},
		{"device: a\ndns: {fake-ip: true, fake-ip4: 'fd00::/64'}\n", `dns.fake-ip4 "fd00::/64": is of the other IP version`},
		{"device: a\nroutes: {include: [10.0.0.0/8]}\n", `routes.auto-route: is not set`},
		{"device: a\nroutes: {auto-route: true, exclude-uids: [root]}\n", `routes.exclude-uids[0] "root": want a number`},
		{"device: a\n---\ndevice: b\n", `more than one document`},
		{"device: [\n", `:1:9: `},
		{"device: a\ndevice: b\n", `:2:1: mapping key "device" already defined`},
		{"- a\n", `want a mapping, not a sequence`},
		{"device: a\noutbounds:\n- {name: x, url: 'socks5://joe:sesame@h:1', sesam: sesame}\n", `unknown key "sesam"`},
		{"device: a\nproxy: [socks5://joe:sesame@h:1]\n", `proxy: want one value`},
		{"device: a\noutbounds:\n- {name: x, url: 'socks5://h:1', password: [sesame]}\n", `outbounds[0].password: want one value`},
		{"device: a\nrestapi: 'http://sesame@1.2.3.4'\n", "want HOST:PORT"},
	} {
		name := write(t, c.file)
		_, err := Parse([]string{"-config", name})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), name) ||
			strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%q:\n got %v\nwant %s%s", c.file, err, name, c.want)
		}
	}
}

// TestFlagsOverFile: the file is read first, whatever the order.
func TestFlagsOverFile(t *testing.T) {
	name := write(t, "device: tun://a\nmtu: 9000\nloglevel: debug\nlimits: {tcp: 5, udp: 6}\ndns: {servers: ['udp://1.1.1.1']}\n")
	in, err := Parse([]string{"--mtu=1500", "-limit", "tcp=7", "--config", name, "-dns", "tls://1.1.1.1,tls://9.9.9.9"})
	if err != nil {
		t.Fatal(err)
	}
	if in.MTU != 1500 || in.Device != "tun://a" || in.Limits.TCP != 7 || in.Limits.UDP != 6 || len(in.DNS.Servers) != 2 {
		t.Errorf("%s", in.YAML())
	}
	if _, err := Parse([]string{"-config", name, "-mtu", "12"}); err == nil || !strings.HasPrefix(err.Error(), `-mtu "12"`) {
		t.Errorf("a wrong flag over a file: %v", err)
	}
}

// TestWordsOfOthers: a command line and a file of tun2socks 2.6.
func TestWordsOfOthers(t *testing.T) {
	in, err := Parse(strings.Fields("-device tun://tun7 -proxy direct:// -mtu 9000 -interface eth0 -fwmark 0x1f -loglevel silent " +
		"-tcp-auto-tuning -tcp-rcvbuf 1m -tcp-sndbuf 512KiB -udp-timeout 2m -restapi http://open:sesame@127.0.0.1:9090"))
	if err != nil {
		t.Fatal(err)
	}
	on := true
	want := Default()
	want.Device, want.MTU, want.Interface, want.Mark, want.LogLevel = "tun://tun7", 9000, "eth0", 31, Silent
	want.TCPAutoTuning, want.TCPReceive, want.TCPSend, want.UDPTimeout = &on, 1<<20, 512<<10, Duration(2*time.Minute)
	want.Control, want.ControlToken = "http://127.0.0.1:9090", "open:sesame"
	if !reflect.DeepEqual(in.Config, want) {
		t.Errorf("got\n%#v\nwant\n%#v", in.Config, want)
	}
	in, err = Parse([]string{"-config", write(t, "device: tun0\nproxy: direct://\nloglevel: warning\n"+
		"tcp-moderate-receive-buffer: false\ntcp-send-buffer-size: 1MB\ntcp-receive-buffer-size: 2MB\nudp-timeout: 90s\n")})
	if err != nil {
		t.Fatal(err)
	}
	if in.TCPReceive != 2<<20 || in.TCPSend != 1<<20 || in.TCPAutoTuning == nil || *in.TCPAutoTuning || in.UDPTimeout != Duration(90*time.Second) {
		t.Errorf("%s", in.YAML())
	}
}

// TestYAML: what is printed can be read again and means the same, but for the secrets.
func TestYAML(t *testing.T) {
	t.Setenv("PASSWORD_OF_THE_TEST", "sesame\n")
	file := write(t, "sesame")
	text := "device: a\nproxy: work\nfwmark: 7\ndrain: 1h30m\nmemory: 64MiB\n" +
		"outbounds:\n- {name: work, url: 'socks5://joe:sesame@h:1'}\n- {name: b, url: 'ss://YWVzLTI1Ni1nY206c2VzYW1l@h:1', password-env: PASSWORD_OF_THE_TEST}\n" +
		"- {name: c, url: 'http://h:1', username: u, password: sesame}\n- {name: d, failover: [work, b], check-address: 'example.com:443'}\n" +
		"rules:\n- {network: tcp, to: [10.0.0.0/8, '::1'], ports: [80, 8000-8999], domain: [.example.com, example.org], outbound: reject}\n" +
		"dns: {servers: ['tls://1.1.1.1'], fake-ip: true}\ncontrol: http://127.0.0.1:1\ncontrol-token-file: " + file + "\n"
	in, err := Parse([]string{"-config", write(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	if in.ControlToken != "sesame" || in.Outbounds[1].Password != "sesame\n" {
		t.Errorf("the secrets are %q, %q", in.ControlToken.Reveal(), in.Outbounds[1].Password.Reveal())
	}
	out := string(in.YAML())
	if strings.Contains(out, "sesame") || strings.Contains(out, "YWVz") || strings.Count(out, Hidden) != 5 {
		t.Errorf("secrets show:\n%s", out)
	}
	again := Default()
	if _, err := decode("again", []byte(out), again); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if second := string(again.YAML()); second != out {
		t.Errorf("read again:\n%s\nwant\n%s", second, out)
	}
}

// TestHelp: every flag is in it, and it fits a screen of 80 by 24.
func TestHelp(t *testing.T) {
	help := Help()
	if n := strings.Count(help, "\n"); n > 23 {
		t.Errorf("%d lines", n)
	}
	for line := range strings.Lines(help) {
		if len(line) > 97 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	in := &Invocation{Config: Default()}
	in.flags().VisitAll(func(f *flag.Flag) {
		if f.Name != "queue" && f.Name != "cleanup" && !strings.Contains(help, "-"+f.Name) {
			t.Errorf("-%s is missing in\n%s", f.Name, help)
		}
	})
}

// TestKeysAndFlags: a flag that stands for a value has the name of a key.
func TestKeysAndFlags(t *testing.T) {
	keys := map[string]bool{"limit": true, "dns": true} // lists in the file
	for _, typ := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[DNS](), reflect.TypeFor[Routes]()} {
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ",")
			keys[name] = true
		}
	}
	for _, act := range []string{"config", "check", "version", "status", "cleanup", "queue"} {
		keys[act] = true
	}
	in := &Invocation{Config: Default()}
	in.flags().VisitAll(func(f *flag.Flag) {
		if !keys[f.Name] {
			t.Errorf("-%s is no key", f.Name)
		}
	})
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "socks5://h:1": "socks5://h:1", "socks5://joe:sesame@h:1": "socks5://***@h:1",
		"socks5://joe:ses@me@h:1 and http://joe@x": "socks5://***@h:1 and http://***@x",
		"socks5://joe:ses/ame@h":                   "socks5://***@h",
		"ss://YWVzLTI1Ni1nY206c2VzYW1lQGg6MQ==":    "ss://***",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// FuzzDecode: a file is read or refused by one line, and what was read can be printed.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"device: a\n", "rules: [{to: [::1], ports: [1-2], outbound: x}]", "memory: 64MiB\ndrain: 1s", "a: &b c\nd: *b", "- 1", "\x00", "dns: ~"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := Default()
		if _, err := decode("f", []byte(s), c); err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: more than a line: %q", s, err)
			}
			return
		}
		if strings.HasPrefix(string(c.YAML()), "#") {
			t.Errorf("%q: %s", s, c.YAML())
		}
	})
}
