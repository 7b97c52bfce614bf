package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"l3extract/l3conn/wgtun"
)

// key is a private, public or shared key of WireGuard.
type key [32]byte

func (k key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// config is a file in the format of wg-quick(8). What that runs commands for is no
// key here, because there is no interface to prepare.
type config struct {
	private key
	port    uint16         // 0: the system chooses
	mark    uint32         // of WireGuard's own packets; 0: none
	addrs   []netip.Prefix // the server's own, inside
	dns     []netip.Addr   // who is asked for clients; none: the host's resolver
	mtu     int            // inside
	peers   []peerConfig
}

// peerConfig is a section [Peer].
type peerConfig struct {
	public    key
	shared    key            // zero: none
	allowed   []netip.Prefix // masked
	endpoint  string         // host and port; "": it comes to us
	keepalive uint16         // seconds; 0: off

	line int // where its section begins
}

// parser reads a config line by line.
type parser struct {
	cfg     config
	section string // "" before the first
	seen    map[string]bool
	inside  bool                 // [Interface] was there
	owners  map[netip.Prefix]int // index of the peer
	line    int
}

// parseConfig reads a configuration. Its error names the line.
func parseConfig(text string) (*config, error) {
	p := &parser{cfg: config{mtu: wgtun.DefaultMTU}, owners: make(map[netip.Prefix]int)}
	for line := range strings.Lines(text) {
		p.line++
		if err := p.read(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line, err)
		}
	}
	if err := p.endSection(); err != nil {
		return nil, fmt.Errorf("line %d: %w", p.line, err)
	}
	if !p.inside {
		return nil, errors.New("there is no section [Interface]")
	}
	if err := p.cfg.check(); err != nil {
		return nil, err
	}
	return &p.cfg, nil
}

// check judges what one line alone cannot.
func (c *config) check() error {
	own, err := publicKey(c.private)
	if err != nil {
		return fmt.Errorf("PrivateKey: %w", err)
	}
	known := make(map[key]bool)
	for _, peer := range c.peers {
		switch {
		case peer.public == own:
			return fmt.Errorf("line %d: the peer's PublicKey is this server's own", peer.line)
		case known[peer.public]:
			return fmt.Errorf("line %d: there is another peer with this PublicKey", peer.line)
		}
		known[peer.public] = true
	}
	return nil
}

func (p *parser) read(line string) error {
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	if line == "" {
		return nil
	}
	if strings.HasPrefix(line, "[") {
		return p.begin(line)
	}
	name, value, ok := strings.Cut(line, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch {
	case !ok:
		return fmt.Errorf("%q is neither a section nor KEY = VALUE", line)
	case p.section == "":
		return fmt.Errorf("%s stands before the first section", name)
	case value == "":
		return fmt.Errorf("%s has no value", name)
	}
	id := strings.ToLower(name) // as wg(8) has it
	if p.seen[id] && !lists[id] {
		return fmt.Errorf("a second %s in this section", name)
	}
	p.seen[id] = true
	set := p.setInterface
	if p.section == "peer" {
		set = p.setPeer
	}
	err := set(id, value)
	if errors.Is(err, errUnknown) {
		return fmt.Errorf("%w %q in [%s]", err, name, titles[p.section])
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

var (
	// lists are the keys that may stand more than once in a section.
	lists  = map[string]bool{"address": true, "dns": true, "allowedips": true}
	titles = map[string]string{"interface": "Interface", "peer": "Peer"}

	errUnknown = errors.New("unknown key")
	errCommand = errors.New("nothing of the kind is done here: there is no interface to prepare, so remove it")
)

func (p *parser) begin(line string) error {
	if err := p.endSection(); err != nil {
		return err
	}
	switch name := strings.ToLower(line); name {
	case "[interface]":
		if p.inside {
			return errors.New("a second [Interface]")
		}
		p.inside = true
	case "[peer]":
		p.cfg.peers = append(p.cfg.peers, peerConfig{line: p.line})
	default:
		return fmt.Errorf("unknown section %s", line)
	}
	p.section = strings.Trim(strings.ToLower(line), "[]")
	p.seen = make(map[string]bool)
	return nil
}

// endSection looks for keys that are missing.
func (p *parser) endSection() error {
	switch {
	case p.section == "interface" && !p.seen["privatekey"]:
		return errors.New("the section [Interface] ends without a PrivateKey")
	case p.section == "peer" && !p.seen["publickey"]:
		return errors.New("the section [Peer] ends without a PublicKey")
	}
	return nil
}

func (p *parser) setInterface(name, value string) (err error) {
	c := &p.cfg
	switch name {
	case "privatekey":
		c.private, err = parseKey(value)
	case "listenport":
		c.port, err = parseNumber[uint16](value, 16)
	case "fwmark":
		if value != "off" {
			c.mark, err = parseNumber[uint32](value, 32)
		}
	case "address":
		err = each(value, func(s string) error {
			a, err := parsePrefix(s)
			c.addrs = append(c.addrs, a)
			return err
		})
	case "dns":
		err = each(value, func(s string) error {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("%q is no address (search domains are the clients' matter)", s)
			}
			c.dns = append(c.dns, a.Unmap())
			return nil
		})
	case "mtu":
		var n uint16
		if n, err = parseNumber[uint16](value, 16); err == nil && n < minMTU {
			err = fmt.Errorf("want %d to 65535", minMTU)
		}
		c.mtu = int(n)
	case "table", "preup", "postup", "predown", "postdown", "saveconfig":
		err = errCommand
	default:
		err = errUnknown
	}
	return err
}

// minMTU is IPv6's.
const minMTU = 1280

func (p *parser) setPeer(name, value string) (err error) {
	peer := &p.cfg.peers[len(p.cfg.peers)-1]
	switch name {
	case "publickey":
		peer.public, err = parseKey(value)
	case "presharedkey":
		peer.shared, err = parseKey(value)
	case "allowedips":
		err = each(value, func(s string) error { return p.allow(peer, s) })
	case "endpoint":
		var host, port string
		if host, port, err = net.SplitHostPort(value); err == nil {
			if _, err = parseNumber[uint16](port, 16); err == nil && (host == "" || port == "0") {
				err = errors.New("want HOST:PORT")
			}
		}
		peer.endpoint = value
	case "persistentkeepalive":
		if value != "off" {
			peer.keepalive, err = parseNumber[uint16](value, 16)
		}
	default:
		err = errUnknown
	}
	return err
}

// allow gives a peer a network. WireGuard would take it away from another silently.
func (p *parser) allow(peer *peerConfig, s string) error {
	a, err := parsePrefix(s)
	if err != nil {
		return err
	}
	a = a.Masked()
	this := len(p.cfg.peers) - 1
	owner, taken := p.owners[a]
	switch {
	case !taken:
		p.owners[a] = this
		peer.allowed = append(peer.allowed, a)
	case owner != this:
		return fmt.Errorf("%v belongs to the peer of line %d", a, p.cfg.peers[owner].line)
	}
	return nil
}

// each calls f with every part of a list.
func each(list string, f func(string) error) error {
	for s := range strings.SplitSeq(list, ",") {
		if err := f(strings.TrimSpace(s)); err != nil {
			return err
		}
	}
	return nil
}

func parseKey(s string) (k key, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(k) {
		return k, errors.New("a key is 32 bytes in base64") // and is not repeated: it may be a secret
	}
	return key(b), nil
}

// parsePrefix reads an address with or without the length of its network.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is no address and no network", s)
	}
	return p, nil
}

func parseNumber[T uint16 | uint32](s string, bits int) (T, error) {
	n, err := strconv.ParseUint(s, 0, bits)
	if err != nil {
		return 0, fmt.Errorf("%q is no number of %d bits", s, bits)
	}
	return T(n), nil
}
