package httpconnect

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

// Dialer opens connections through one HTTP proxy. Its fields must not be changed
// once it is used; DialContext may be called at once.
type Dialer struct {
	// Address is the proxy's: host:port, or the path of a Unix socket, which begins
	// with "/", "./" or "../", or with "@" for a name of Linux's abstract namespace.
	Address string

	// Username and Password are sent by basic authentication (RFC 7617), if either is
	// set. The name must not hold a colon. Without TLS whoever is in between reads them.
	Username, Password string

	// TLS, if set, is how the proxy is spoken to by TLS. Its ServerName is by default
	// the host in Address. Default: nil, no TLS.
	TLS *tls.Config

	// Header is sent with every request. Default: nil, no more than is needed.
	Header http.Header

	// Dialer reaches the proxy. Default: nil, a direct.Dialer.
	Dialer outbound.Dialer

	// Timeout bounds a dial: reaching the proxy, and its answer when it has reached the
	// destination or not. Default: 0, 10 s. Negative: the context's alone.
	Timeout time.Duration
}

// maxHead bounds what a proxy answers, in bytes.
const maxHead = 16 << 10

// DialContext opens a connection to address through the proxy. Network is "tcp",
// "tcp4" or "tcp6", which are alike: the proxy resolves names.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	err := hop.Networks(network)
	var c net.Conn
	if err == nil {
		c, err = d.dial(ctx, address)
	}
	if err != nil {
		return nil, hop.OpError("dial", network, address, err)
	}
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	to, err := target(address)
	if err != nil {
		return nil, err
	}
	p := d.proxy()
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	c, err := p.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if d.TLS != nil {
		secure := tls.Client(c, d.config())
		if err := hop.Within(ctx, c, func(net.Conn) error { return secure.HandshakeContext(ctx) }); err != nil {
			_ = c.Close()
			return nil, p.Fault(hop.Cut(err))
		}
		c = secure
	}
	asked := false
	err = hop.Within(ctx, c, func(c net.Conn) error {
		if _, err := c.Write(d.request(to)); err != nil {
			return hop.Cut(err)
		}
		asked = true
		return answer(p, c, d.Username != "" || d.Password != "")
	})
	switch {
	case err == nil:
		return c, nil
	case asked:
		err = p.Silent(err)
	default:
		err = p.Fault(err)
	}
	_ = c.Close() // it is of no use
	return nil, err
}

// proxy returns how the proxy is reached.
func (d *Dialer) proxy() *hop.Proxy {
	p := &hop.Proxy{Protocol: "http", Address: d.Address, Dialer: d.Dialer, Timeout: d.Timeout}
	if d.TLS != nil {
		p.Protocol = "https"
	}
	return p
}

// config returns the configuration with a name in it.
func (d *Dialer) config() *tls.Config {
	if d.TLS.ServerName != "" {
		return d.TLS
	}
	c := d.TLS.Clone()
	host, _, err := net.SplitHostPort(d.Address)
	if err != nil {
		host = "localhost" // a Unix socket
	}
	c.ServerName = host
	return c
}

// target checks a destination: it is written into a head, where nothing else may come
// of it.
func target(address string) (string, error) {
	a, err := socksaddr.Split(address)
	if err != nil {
		return "", err
	}
	for _, c := range []byte(a.Name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"%/:<>?@[\]^`+"`{|}", c) >= 0 {
			return "", fmt.Errorf("the name %q has a character that no name has: %w", a.Name, syscall.EHOSTUNREACH)
		}
	}
	return a.String(), nil
}

// request returns what is sent.
func (d *Dialer) request(to string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", to, to)
	if d.Username != "" || d.Password != "" {
		credentials := base64.StdEncoding.EncodeToString([]byte(d.Username + ":" + d.Password))
		fmt.Fprintf(&b, "Proxy-Authorization: Basic %s\r\n", credentials)
	}
	_ = d.Header.Write(&b) // a Buffer takes everything; line breaks in values become spaces
	b.WriteString("\r\n")
	return b.Bytes()
}

// answer reads what became of a request.
func answer(p *hop.Proxy, c net.Conn, authenticated bool) error {
	for left := maxHead; ; {
		head, err := hop.ReadHead(c, left)
		if err != nil {
			return hop.Cut(err)
		}
		left -= len(head)
		r, err := parse(head)
		if err != nil {
			return err
		}
		switch {
		case r.StatusCode/100 == 2:
			return nil
		case r.StatusCode/100 != 1 || r.StatusCode == http.StatusSwitchingProtocols:
			return failure(p, r, authenticated)
		}
	}
}

// parse makes a response of a head. Of its body nobody reads anything.
func parse(head []byte) (*http.Response, error) {
	if bytes.IndexByte(head, 0) >= 0 {
		return nil, errNoHTTP
	}
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, errNoHTTP // the error itself quotes what a proxy may echo: our credentials
	}
	_ = r.Body.Close()
	return r, nil
}

var errNoHTTP = errors.New("answers with what is not HTTP")
