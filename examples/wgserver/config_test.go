package main

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// Keys for tests: any 32 bytes are one.
const (
	keyA = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA="
	keyB = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	keyC = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
)

const whole = `# a server
[Interface]
PrivateKey = ` + keyA + `   # secret
Address = 10.66.0.1/24
address=fd66::1/64
ListenPort = 51820
FwMark = 0x1f
MTU = 1400
DNS = 9.9.9.9, 2620:fe::fe

[Peer]
PublicKey = ` + keyB + `
PresharedKey = ` + keyC + `
AllowedIPs = 10.66.0.2, fd66::2/128
AllowedIPs = 10.66.0.2/32
PersistentKeepalive = 25
[peer]
PublicKey=` + keyC + `
AllowedIPs=10.66.0.3/32,192.168.7.9/24
Endpoint=[2001:db8::1]:51820
PersistentKeepalive=off
`

func TestConfig(t *testing.T) {
	c, err := parseConfig(whole)
	if err != nil {
		t.Fatal(err)
	}
	prefix := netip.MustParsePrefix
	a, _ := parseKey(keyA)
	b, _ := parseKey(keyB)
	d, _ := parseKey(keyC)
	want := &config{
		private: a, port: 51820, mark: 31, mtu: 1400,
		addrs: []netip.Prefix{prefix("10.66.0.1/24"), prefix("fd66::1/64")},
		dns:   []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("2620:fe::fe")},
		peers: []peerConfig{
			{public: b, shared: d, allowed: []netip.Prefix{prefix("10.66.0.2/32"), prefix("fd66::2/128")}, keepalive: 25, line: 11},
			{public: d, allowed: []netip.Prefix{prefix("10.66.0.3/32"), prefix("192.168.7.0/24")}, endpoint: "[2001:db8::1]:51820", line: 17},
		},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	for _, line := range []string{
		"private_key=0000", "listen_port=51820\n", "fwmark=31\n", "preshared_key=0202", "endpoint=[2001:db8::1]:51820\n",
		"persistent_keepalive_interval=25\n", "allowed_ip=192.168.7.0/24\n",
	} {
		if !strings.Contains(c.device(), line) {
			t.Errorf("the device is not told %q:\n%s", line, c.device())
		}
	}
}

func TestConfigErrors(t *testing.T) {
	const head = "[Interface]\nPrivateKey=" + keyA + "\n"
	const peer = "[Peer]\nPublicKey=" + keyB + "\n"
	for _, c := range []struct{ text, want string }{
		{"", "no section [Interface]"},
		{peer, "no section [Interface]"},
		{"[Interface]\n", "line 1: the section [Interface] ends without a PrivateKey"},
		{"[Interface]\n[Peer]\n", "line 2: the section [Interface] ends without a PrivateKey"},
		{head + "[Peer]\n", "line 3: the section [Peer] ends without a PublicKey"},
		{head + "[Server]\n", "line 3: unknown section [Server]"},
		{head + "[Interface]\n", "line 3: a second [Interface]"},
		{"MTU=1420\n", "line 1: MTU stands before the first section"},
		{head + "Mtu\n", `line 3: "Mtu" is neither`},
		{head + "MTU=\n", "line 3: MTU has no value"},
		{head + "MTU=68\n", "line 3: MTU: want 1280"},
		{head + "MTU=x\n", `line 3: MTU: "x" is no number`},
		{head + "MTU=1420\nMTU=1420\n", "line 4: a second MTU"},
		{head + "Colour=blue\n", `line 3: unknown key "Colour" in [Interface]`},
		{head + peer + "Address=10.0.0.1\n", `line 5: unknown key "Address" in [Peer]`},
		{head + "PostUp=iptables -A FORWARD\n", "line 3: PostUp: nothing of the kind is done here"},
		{head + "ListenPort=65536\n", "line 3: ListenPort"},
		{head + "Address=10.0.0.1/33\n", "line 3: Address"},
		{head + "Address=10.0.0.1,\n", "line 3: Address"},
		{head + "DNS=example.com\n", "line 3: DNS"},
		{head + peer + "Endpoint=10.0.0.1\n", "line 5: Endpoint"},
		{head + peer + "Endpoint=:51820\n", "line 5: Endpoint: want HOST:PORT"},
		{head + peer + "PersistentKeepalive=-1\n", "line 5: PersistentKeepalive"},
		{head + peer + "PresharedKey=AAAA\n", "line 5: PresharedKey: a key is 32 bytes"},
		{head + peer + peer, "line 5: there is another peer with this PublicKey"},
		{head + peer + "AllowedIPs=10.0.0.0/8\n[Peer]\nPublicKey=" + keyC + "\nAllowedIPs=10.1.2.3/8\n", "line 8: AllowedIPs: 10.0.0.0/8 belongs to the peer of line 3"},
	} {
		got, err := parseConfig(c.text)
		if err == nil || got != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, %v; want %q", c.text, got, err, c.want)
		}
	}
	private, _ := parseKey(keyA)
	own, err := publicKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseConfig(head + "[Peer]\nPublicKey=" + own.String()); err == nil || !strings.Contains(err.Error(), "this server's own") {
		t.Errorf("its own key as a peer: %v", err)
	}
}

// FuzzConfig: what can be read can be written and reads the same; anything else is
// an error and no configuration.
func FuzzConfig(f *testing.F) {
	f.Add(whole)
	f.Add("[Interface]\nPrivateKey=" + keyA + "\n[Peer]\nPublicKey=" + keyB)
	f.Add("[interface]\r\nprivatekey=" + keyA + "\r\nfwmark=off\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConfig(text)
		if err != nil {
			if c != nil {
				t.Fatalf("a value and an error: %v", err)
			}
			return
		}
		again, err := parseConfig(c.String())
		if err != nil {
			t.Fatalf("%v in what was written:\n%s", err, c)
		}
		for i := range c.peers {
			c.peers[i].line, again.peers[i].line = 0, 0
		}
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("%+v\nwas written and read as\n%+v", c, again)
		}
	})
}

func TestFirstServer(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "127.0.0.1:53",
		"search example.com\n":                 "127.0.0.1:53",
		"nameserver x\nnameserver 192.0.2.1":   "192.0.2.1:53",
		"nameserver fe80::1%eth0\n":            "[fe80::1%eth0]:53",
		"options edns0\nnameserver 8.8.8.8 \n": "8.8.8.8:53",
	} {
		if got := firstServer(text).String(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestByPeer: the addresses of a peer count as one, and a more special network wins.
func TestByPeer(t *testing.T) {
	c, err := parseConfig("[Interface]\nPrivateKey=" + keyA + "\n[Peer]\nPublicKey=" + keyB + "\nAllowedIPs=10.0.0.0/8, fd00::/8\n" +
		"[Peer]\nPublicKey=" + keyC + "\nAllowedIPs=10.1.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	of := byPeer(c)
	for addr, want := range map[string]string{
		"10.2.3.4": "10.0.0.0/8", "fd12::1": "10.0.0.0/8", "10.1.2.3": "10.1.0.0/16", "192.0.2.1": "192.0.2.1/32",
	} {
		if got := of(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s counts as %s, want %s", addr, got, want)
		}
	}
}

func TestStatus(t *testing.T) {
	peers := parseStatus("private_key=00\npublic_key=" + strings.Repeat("01", 32) + "\nendpoint=192.0.2.1:7\nlast_handshake_time_sec=5\n" +
		"last_handshake_time_nsec=6\nrx_bytes=7\ntx_bytes=8\npublic_key=02\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\nerrno=0\n")
	if len(peers) != 2 || peers[0].public.String() != keyB || peers[0].endpoint != "192.0.2.1:7" || peers[0].last.UnixNano() != 5_000_000_006 ||
		peers[0].in != 7 || peers[0].out != 8 || !peers[1].last.IsZero() {
		t.Errorf("%+v", peers)
	}
}
