package httpconnect

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"l3extract/adapters/internal/hop"
)

// failure returns the error of an answer that is no success.
func failure(p *hop.Proxy, r *http.Response, authenticated bool) error {
	words := status(r.StatusCode)
	if why, errno := told(r.Header); why != "" {
		return p.Refused(words+": "+why, errno)
	}
	switch code := r.StatusCode; code {
	case http.StatusProxyAuthRequired, http.StatusUnauthorized: // the latter is tinyproxy's
		if authenticated {
			return p.Denied("refuses the user name or the password (" + words + ")")
		}
		return p.Denied("wants a user name and password (" + words + ")")
	case http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return p.Refused(words, syscall.EACCES)
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return p.Refused(words, syscall.ETIMEDOUT)
	case http.StatusNotFound, http.StatusGone:
		return p.Refused(words, syscall.EHOSTUNREACH)
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return p.Unsupported(words)
	default:
		if code/100 == 5 {
			return p.Refused(words, syscall.EHOSTUNREACH)
		}
		return p.Unsupported(words) // redirections, client errors: it is no proxy, or of another kind
	}
}

// status is a code with the words that belong to it; the proxy's own are anything.
func status(code int) string {
	if text := http.StatusText(code); text != "" {
		return fmt.Sprintf("answers %d %s", code, text)
	}
	return fmt.Sprintf("answers %d", code)
}

// told returns what the headers tell of a connection that failed, or "".
func told(h http.Header) (why string, errno syscall.Errno) {
	for _, f := range []struct {
		header string
		causes []cause
	}{{"X-Squid-Error", squid}, {"Proxy-Status", proxyStatus}} {
		for _, v := range h.Values(f.header) {
			for _, c := range f.causes {
				if strings.Contains(v, c.text) {
					return c.why, c.errno
				}
			}
		}
	}
	return "", 0
}

type cause struct {
	text  string
	why   string
	errno syscall.Errno
}

// squid are the names of Squid's errors with the errno behind them, which is Linux's
// or FreeBSD's.
var squid = []cause{
	{"ERR_CONNECT_FAIL 111", "connection refused", syscall.ECONNREFUSED},
	{"ERR_CONNECT_FAIL 61", "connection refused", syscall.ECONNREFUSED},
	{"ERR_CONNECT_FAIL 110", "connection timed out", syscall.ETIMEDOUT},
	{"ERR_CONNECT_FAIL 60", "connection timed out", syscall.ETIMEDOUT},
	{"ERR_CONNECT_FAIL 101", "network unreachable", syscall.ENETUNREACH},
	{"ERR_CONNECT_FAIL 51", "network unreachable", syscall.ENETUNREACH},
	{"ERR_CONNECT_FAIL", "host unreachable", syscall.EHOSTUNREACH},
	{"ERR_DNS_FAIL", "no such name", syscall.EHOSTUNREACH},
	{"ERR_ACCESS_DENIED", "not allowed by its rules", syscall.EACCES},
}

// proxyStatus are error types of RFC 9209, section 2.3.
var proxyStatus = []cause{
	{"error=connection_refused", "connection refused", syscall.ECONNREFUSED},
	{"error=connection_timeout", "connection timed out", syscall.ETIMEDOUT},
	{"error=destination_ip_unroutable", "network unreachable", syscall.ENETUNREACH},
	{"error=destination_ip_prohibited", "not allowed by its rules", syscall.EACCES},
	{"error=destination_not_found", "no such destination", syscall.EHOSTUNREACH},
	{"error=destination_unavailable", "host unreachable", syscall.EHOSTUNREACH},
	{"error=dns_error", "no such name", syscall.EHOSTUNREACH},
	{"error=dns_timeout", "no such name", syscall.EHOSTUNREACH},
	{"error=http_request_denied", "not allowed by its rules", syscall.EACCES},
}
