package sniff

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// MaxBytes is how many bytes are worth looking at: a ClientHello with post-quantum key
// shares has some 2 KiB, and Host is among the first fields of a request.
const MaxBytes = 4 << 10

// Host returns the name in the first bytes of a connection, in lower case and without a
// port or final dot, or "" if there is none, or an address in its place. Done tells
// whether more bytes could change that; with last set there are none to come, and what
// is cut short is read as far as it goes. It may be called at once.
func Host(b []byte, last bool) (host string, done bool) {
	switch {
	case len(b) == 0:
		return "", last
	case b[0] == handshakeRecord:
		host, done = serverName(b)
	case looksLikeHTTP(b):
		host, done = requestHost(b, last)
	default:
		return "", true
	}
	return clean(host), done || last
}

// looksLikeHTTP tells whether b may begin with a method of HTTP, which are upper case
// by custom: a request of another kind has no name that we find.
func looksLikeHTTP(b []byte) bool {
	const longest = 32
	for i, c := range b[:min(len(b), longest)] {
		switch {
		case c >= 'A' && c <= 'Z', c == '-':
		case c == ' ':
			return i > 0
		default:
			return false
		}
	}
	return len(b) < longest
}

// requestHost reads an HTTP/1 request.
func requestHost(b []byte, last bool) (host string, done bool) {
	whole := bytes.Contains(b, []byte("\r\n\r\n")) || bytes.Contains(b, []byte("\n\n"))
	if !whole {
		if !last {
			return "", false
		}
		end := bytes.LastIndexByte(b, '\n') // the fields that are whole
		b = append(b[:end+1:end+1], "\r\n"...)
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return "", true
	}
	_ = r.Body.Close() // there is nothing behind it
	host = r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return host, true
}

// clean returns host as names are compared, "" for what is none.
func clean(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || len(host) > 253 { // RFC 1035, 2.3.4, as text
		return ""
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return ""
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return ""
			}
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}
