package proxyurl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"l3extract/adapters/gostrelay"
	"l3extract/adapters/httpconnect"
	"l3extract/adapters/outbound"
	"l3extract/adapters/reject"
	"l3extract/adapters/shadowsocks"
	"l3extract/adapters/socks4"
	"l3extract/adapters/socks5"
	"l3extract/adapters/sshtunnel"
)

// build makes h what o dials with. behind tells that there is a proxy before it.
func (h *hop) build(o *Outbound, behind bool) error {
	switch h.scheme {
	case "direct", "reject":
		if behind {
			return fmt.Errorf("%s:// is not behind another", h.scheme)
		}
		if h.host != "" || h.path != "" || h.user != "" {
			return fmt.Errorf("%s:// has no host", h.scheme)
		}
		if h.scheme == "reject" {
			h.reject(o)
		}
	case "socks5", "socks5h":
		h.socks5(o)
	case "socks4", "socks4a":
		h.socks4(o)
	case "http", "https":
		h.http(o)
	case "ss":
		h.shadowsocks(o)
	case "ssh":
		h.ssh(o)
	case "relay":
		h.relay(o)
	default:
		return fmt.Errorf("there is no scheme %q; there are direct, reject, socks5, socks4, socks4a, http, https, ss, ssh, relay", h.scheme)
	}
	return nil
}

func (h *hop) reject(o *Outbound) {
	d := new(reject.Dialer)
	if text := h.text("answer"); text != "" && d.Answer.UnmarshalText([]byte(text)) != nil {
		h.fail("option answer is refused, prohibited or silence")
	}
	o.Dialer, o.PacketListener = d, d
}

// maxPool bounds the option pool.
const maxPool = 1024

func (h *hop) socks5(o *Outbound) {
	d := &socks5.Dialer{
		Address:  h.address("1080"),
		Username: h.credential("user", h.user), Password: h.credential("password", h.password),
		Dialer: h.dialer, PacketListener: h.packets, Timeout: h.duration("timeout"),
		Pipeline: h.bool("pipeline", false), Announce: h.bool("announce", false),
		Pool: h.number("pool", maxPool), PoolIdle: h.duration("pool-idle"),
	}
	if len(d.Username) > 255 || len(d.Password) > 255 {
		h.fail("the user name and the password have at most 255 bytes each")
	}
	if d.Username == "" && d.Password != "" {
		h.fail("there is a password and no user name")
	}
	if d.PoolIdle < 0 {
		h.fail("option pool-idle is more than 0")
	}
	o.use(h, d, d)
}

// use makes d what o dials with; packets only if the way to it carries any. A Dialer
// that carries none is no PacketListener, for those who ask it.
func (o *Outbound) use(h *hop, d outbound.Dialer, packets outbound.PacketListener) {
	if c, ok := d.(closer); ok {
		o.keepers = append(o.keepers, c)
	}
	o.Dialer, o.PacketListener = d, nil
	if packets != nil && h.bool("udp", true) && h.packets != nil {
		o.PacketListener = packets
	} else if _, ok := d.(outbound.PacketListener); ok {
		o.Dialer = streams(d)
	}
}

// streams hides that d is a PacketListener.
func streams(d outbound.Dialer) outbound.Dialer {
	if early, ok := d.(outbound.EarlyDialer); ok {
		return &struct{ outbound.EarlyDialer }{early}
	}
	return &struct{ outbound.Dialer }{d}
}

func (h *hop) socks4(o *Outbound) {
	d := &socks4.Dialer{
		Address: h.address("1080"), User: h.credential("user", h.user), Names: h.scheme == "socks4a",
		Lookup: h.base.Lookup, Dialer: h.dialer, Timeout: h.duration("timeout"),
	}
	if h.password != "" {
		h.fail("SOCKS4 has no password")
	}
	o.use(h, d, nil)
}

func (h *hop) http(o *Outbound) {
	port := "80"
	if h.scheme == "https" {
		port = "443"
	}
	d := &httpconnect.Dialer{
		Address:  h.address(port),
		Username: h.credential("user", h.user), Password: h.credential("password", h.password),
		Dialer: h.dialer, Timeout: h.duration("timeout"),
	}
	if h.scheme == "https" {
		roots, err := pool(h.file("ca-file"))
		if err != nil {
			h.fail("option ca-file: %w", err)
		}
		d.TLS = &tls.Config{RootCAs: roots, ServerName: h.text("sni"), InsecureSkipVerify: h.bool("insecure", false)}
	}
	o.use(h, d, nil)
}

// pool returns the certificates in a file; nil, the system's, if there is none.
func pool(pem []byte) (*x509.CertPool, error) {
	if pem == nil {
		return nil, nil
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, errors.New("there is no certificate in it")
	}
	return p, nil
}

func (h *hop) shadowsocks(o *Outbound) {
	d := &shadowsocks.Dialer{
		Address: h.address(""), Method: h.user, Password: h.credential("password", h.password),
		Dialer: h.dialer, PacketListener: h.packets, Lookup: h.lookup, Timeout: h.duration("timeout"),
	}
	for _, plugin := range []string{"plugin", "obfs", "obfs-host"} {
		if h.values.Has(plugin) {
			h.fail("option %s: plugins are not supported", plugin)
		}
	}
	if err := d.Check(); err != nil {
		h.fail("%w", err)
	}
	packets := outbound.PacketListener(d)
	if h.path != "" {
		packets = nil
	}
	o.use(h, d, packets)
}

func (h *hop) ssh(o *Outbound) {
	d := &sshtunnel.Dialer{
		Address: h.address("22"), User: h.credential("user", h.user), Password: h.credential("password", h.password),
		PrivateKey: h.file("key-file"), Passphrase: h.credential("passphrase", ""),
		Fingerprint: h.text("fingerprint"), Insecure: h.bool("insecure", false),
		Dialer: h.dialer, Timeout: h.duration("timeout"),
	}
	if hosts := h.text("known-hosts"); hosts != "" {
		d.KnownHosts = []string{hosts}
	}
	if h.err == nil {
		if err := d.Check(); err != nil {
			h.fail("%w", err)
		}
	}
	o.use(h, d, nil)
}

func (h *hop) relay(o *Outbound) {
	d := &gostrelay.Dialer{
		Address:  h.address(""),
		Username: h.credential("user", h.user), Password: h.credential("password", h.password),
		Dialer: h.dialer, Timeout: h.duration("timeout"),
	}
	h.bool("nodelay", true)
	if len(d.Username) > 255 || len(d.Password) > 255 {
		h.fail("the user name and the password have at most 255 bytes each")
	}
	h.packets = d // its datagrams go over streams, whatever the way there carries
	o.use(h, d, d)
}
