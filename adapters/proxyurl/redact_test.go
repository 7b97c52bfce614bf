package proxyurl

import (
	"net/url"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"direct://", "direct://"},
		{"host:1080", "host:1080"},
		{"anna:pw@host:1080", "***@host:1080"},
		{"socks5://anna:pw@host:1080", "socks5://***@host:1080"},
		{"socks5://anna@host:1080", "socks5://***@host:1080"},
		{"socks5://anna:p@ss/w?o#rd@host:1080", "socks5://***@host:1080"},
		{"socks5://anna:my pass@host:1080", "socks5://***@host:1080"},
		{"SOCKS5://anna:%zz@[::1]:x", "SOCKS5://***@[::1]:x"},
		{"socks5:///run/proxy", "socks5:///run/proxy"},
		{"socks5:///@name?pool=3", "socks5:///@name?pool=3"},
		{"socks5://anna:pw@/run/proxy", "socks5://***@/run/proxy"},
		{"socks5:///anna:pw@host:1080", "socks5://***@host:1080"},
		{"socks5:///@anna:pw@host:1080", "socks5://***@host:1080"},
		{"ss://YWVzLTEyOC1nY206cHc@host:1", "ss://***@host:1"},
		{"ss://YWVzLTEyOC1nY206cHdAaG9zdDox#name", "ss://***"},
		{"SS://YWVzLTEyOC1nY206cHdAaG9zdDox", "SS://***"},
		{"socks5://a:b@one:1 http://c:d@two:2", "socks5://***@one:1 http://***@two:2"},
		{" socks5://a:b@one:1 \t http://c:d@two:2\n", "socks5://***@one:1 http://***@two:2"},
		{"http://h:1?password=pw&udp=false;Token=x&y#a", "http://h:1?password=***&udp=false;Token=***&y#a"},
		{"http://h:1?password-file=/etc/pw&password-env=PW", "http://h:1?password-file=/etc/pw&password-env=PW"},
		{"http://h:1?p%61ssword=pw", "http://h:1?p%61ssword=***"},
		{"://a:b@c", "://***@c"},
	} {
		if got := Redact(tc.in); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
}

// FuzzRedact: whatever user names and passwords are, written as they should be or
// not, nothing of them is left, also in the error of a URL that is none.
func FuzzRedact(f *testing.F) {
	f.Add("anna", "s3cret")
	f.Add("a:b", "c d@e")
	f.Add("", "/?#%zz")
	f.Add("%", "\x00\n")
	f.Fuzz(func(t *testing.T, user, password string) {
		if strings.Contains(user+":"+password, "://") {
			return // a space and a scheme begin another URL
		}
		for _, scheme := range []string{"", "socks5://", "http://", "ss://", "ssh://", "relay://", "nonsense://", "a b://"} {
			for _, who := range []string{user + ":" + password, url.UserPassword(user, password).String()} {
				if scheme == "" && strings.TrimSpace(who) != who {
					continue
				}
				raw := scheme + who + "@h.example:1"
				want := scheme + "***@h.example:1"
				got := Redact(raw)
				if got != want {
					t.Errorf("%q: %q", raw, got)
				}
				if again := Redact(got); again != got {
					t.Errorf("%q: %q", got, again)
				}
				if o, err := Parse(raw, Base{}); err != nil {
					if prefix := "proxyurl: " + want + ": "; !strings.HasPrefix(err.Error(), prefix) {
						t.Errorf("%q: %v", raw, err)
					} else if len(password) > 9 && strings.Contains(err.Error()[len(prefix):], password) {
						t.Errorf("%q: %v", raw, err)
					}
				} else {
					if o.String() != want {
						t.Errorf("%q: %q", raw, o)
					}
					_ = o.Close()
				}
			}
		}
	})
}
