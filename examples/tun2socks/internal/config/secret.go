package config

import (
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Hidden stands for a secret wherever one would be shown.
const Hidden = "***"

// Secret is a password or token. It prints as Hidden; Reveal returns it.
type Secret string

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Hidden
}

// GoString implements fmt.GoStringer, for %#v.
func (s Secret) GoString() string { return s.String() }

// Reveal returns what it is.
func (s Secret) Reveal() string { return string(s) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secret) UnmarshalText(b []byte) error { *s = Secret(b); return nil }

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (s *Secret) UnmarshalYAML(n ast.Node) error { return text(n, s) }

// URL is a URL that may hold a password, which it does not print. It is kept as it was
// written: what reads it says what is wrong with it.
type URL string

// String implements fmt.Stringer.
func (u URL) String() string { return Redact(string(u)) }

// GoString implements fmt.GoStringer, for %#v.
func (u URL) GoString() string { return u.String() }

// Reveal returns it with the password.
func (u URL) Reveal() string { return string(u) }

// MarshalText implements encoding.TextMarshaler.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *URL) UnmarshalText(b []byte) error { *u = URL(b); return nil }

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (u *URL) UnmarshalYAML(n ast.Node) error { return text(n, u) }

// Scheme returns what stands before ://, in lower case; "" if nothing does.
func (u URL) Scheme() string {
	scheme, _, ok := strings.Cut(string(u), "://")
	if !ok {
		return ""
	}
	return strings.ToLower(scheme)
}

// userinfo matches what stands between :// and the last @ of a word. A password may hold a
// slash or a second @ that its user forgot to escape, and must not show then either.
var userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s"'<>]*@`)

// opaque matches a URL whose authority may be all secret: Shadowsocks' old form is
// one base64 text of method, password and host.
var opaque = regexp.MustCompile(`(?i)(\bss://)[A-Za-z0-9+/_=-]{16,}`)

// Redact returns text with the user and password of every URL in it hidden.
func Redact(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	text = userinfo.ReplaceAllString(text, "${1}"+Hidden+"@")
	return opaque.ReplaceAllString(text, "${1}"+Hidden)
}
