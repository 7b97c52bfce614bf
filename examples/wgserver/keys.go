package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
)

// newKey returns a private key (Curve25519, RFC 7748).
func newKey() (k key, err error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return k, err
	}
	k = key(private.Bytes())
	k[0] &^= 7 // clamped, as wg genkey gives it
	k[31] = k[31]&127 | 64
	return k, nil
}

// publicKey is the one that belongs to a private key.
func publicKey(private key) (key, error) {
	k, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return key{}, err
	}
	return key(k.PublicKey().Bytes()), nil
}

// readConfig reads a configuration from a file that nobody but its owner may read,
// because the private key is in it.
func readConfig(name string) (*config, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of what is read, whatever the name stands for by now
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s: others may read or write the private key in it (mode %04o): chmod 600 it", name, mode)
	}
	const most = 16 << 20
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if len(text) > most || bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("%s: this is no configuration", name)
	}
	c, err := parseConfig(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// newClient makes a client with these addresses: its own configuration, and its
// section in the server's.
func (c *config) newClient(addrs []netip.Prefix, endpoint string) (client *config, section *peerConfig, err error) {
	for _, p := range c.peers {
		for _, a := range addrs {
			for _, b := range p.allowed {
				if a == b {
					return nil, nil, fmt.Errorf("%v belongs to the peer of line %d", a, p.line)
				}
			}
		}
	}
	own, err := publicKey(c.private)
	if err != nil {
		return nil, nil, err
	}
	if endpoint == "" {
		return nil, nil, errors.New("-endpoint is missing: where do clients find this server?")
	}
	client = &config{addrs: addrs, mtu: c.mtu}
	if client.private, err = newKey(); err != nil {
		return nil, nil, err
	}
	server := peerConfig{public: own, endpoint: endpoint, keepalive: 25} // what NATs need, as wg(8) says
	if _, err := rand.Read(server.shared[:]); err != nil {
		return nil, nil, err
	}
	for _, a := range c.addrs { // where the server answers DNS
		client.dns = append(client.dns, a.Addr())
	}
	server.allowed = everything
	client.peers = []peerConfig{server}
	public, err := publicKey(client.private)
	if err != nil {
		return nil, nil, err
	}
	return client, &peerConfig{public: public, shared: server.shared, allowed: addrs}, nil
}

var everything = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
