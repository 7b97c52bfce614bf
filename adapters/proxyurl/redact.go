package proxyurl

import (
	"slices"
	"strings"
	"unicode"
)

const hidden = "***"

// Redact returns raw, which may be any URL or chain of them, or be none at all, with
// *** for what may be a credential: everything before the last @ of each, be it in a path, the values
// of unknown options, and all of a Shadowsocks URL that has no @. It rather hides too much.
func Redact(raw string) string {
	hops := split(raw)
	for i, h := range hops {
		hops[i] = redact(h)
	}
	return strings.Join(hops, " ")
}

func redact(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		scheme, rest = "", raw
	} else {
		scheme += "://"
	}
	at := strings.LastIndexByte(rest, '@')
	switch {
	case at == 1 && rest[0] == '/': // an abstract socket
		at = -1
	case at < 0 && strings.EqualFold(scheme, "ss://"):
		return scheme + hidden
	}
	user := ""
	if at >= 0 {
		user, rest = hidden+"@", rest[at+1:]
	}
	place, query, ok := strings.Cut(rest, "?")
	if !ok {
		return scheme + user + rest
	}
	query, fragment, hasFragment := strings.Cut(query, "#")
	var b strings.Builder
	b.WriteString(scheme + user + place + "?")
	for len(query) > 0 {
		end := strings.IndexAny(query, "&;")
		if end < 0 {
			end = len(query)
		}
		option := query[:end]
		if key, _, ok := strings.Cut(option, "="); ok && secret(key) {
			option = key + "=" + hidden
		}
		b.WriteString(option)
		if end < len(query) {
			b.WriteByte(query[end])
			end++
		}
		query = query[end:]
	}
	if hasFragment {
		b.WriteString("#" + fragment)
	}
	return b.String()
}

// secret tells whether the value of an option may be a secret. Those of ours are none;
// others may have been tried.
func secret(key string) bool { return !slices.Contains(optionNames, key) }

// optionNames are all options of all schemes. None of them has a secret value.
var optionNames = []string{
	"announce", "answer", "ca-file", "fingerprint", "insecure", "key-file", "known-hosts", "nodelay",
	"passphrase-env", "passphrase-file", "password-env", "password-file", "pipeline", "pool", "pool-idle",
	"sni", "timeout", "udp", "user-env", "user-file",
}

// split cuts a chain into its URLs: where a space is followed by a scheme, since there
// may be spaces, wrongly, in a password.
func split(raw string) []string {
	var hops []string
	raw = strings.TrimSpace(raw)
	for from := 0; ; {
		i := strings.IndexFunc(raw[from:], unicode.IsSpace)
		if i < 0 {
			return append(hops, raw)
		}
		next := strings.TrimSpace(raw[from+i:])
		if hasScheme(next) {
			hops = append(hops, raw[:from+i])
			raw, from = next, 0
			continue
		}
		from = len(raw) - len(next)
	}
}

// hasScheme tells whether a URL with a scheme begins here.
func hasScheme(s string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	if !ok || scheme == "" {
		return false
	}
	for _, c := range scheme {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
