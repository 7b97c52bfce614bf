package proxyurl

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// plainShadowsocks returns a Shadowsocks URL without base64: its user may be that of
// "method:password" (SIP002), or all that is between ss:// and # may be that of
// "method:password@host:port", which is older. One that cannot be decoded stays.
func plainShadowsocks(raw string) string {
	scheme, rest, _ := strings.Cut(raw, "://")
	end := strings.IndexAny(rest, "?#")
	if end < 0 {
		end = len(rest)
	}
	body, tail := rest[:end], rest[end:]
	user, place, ok := cutLast(body, "@")
	if !ok {
		text, ok := decode(strings.TrimSuffix(body, "/"))
		if !ok {
			return raw
		}
		if user, place, ok = cutLast(text, "@"); !ok {
			return raw
		}
	} else if !strings.Contains(user, ":") {
		if unescaped, err := url.PathUnescape(user); err == nil {
			user = unescaped
		}
		if user, ok = decode(user); !ok {
			return raw
		}
	} else {
		return raw
	}
	method, password, ok := strings.Cut(user, ":")
	if !ok {
		return raw
	}
	return scheme + "://" + url.UserPassword(method, password).String() + "@" + place + tail
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// decode decodes base64 of either alphabet, padded or not.
func decode(s string) (string, bool) {
	s = strings.TrimRight(s, "=")
	s = strings.NewReplacer("+", "-", "/", "_").Replace(s)
	b, err := base64.RawURLEncoding.DecodeString(s)
	return string(b), err == nil
}
