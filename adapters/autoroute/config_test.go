package autoroute

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func addrs(s ...string) (a []netip.Addr) {
	for _, s := range s {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

func prefixes(s ...string) (p []netip.Prefix) {
	for _, s := range s {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// TestValidate: an error names the field and the value.
func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		cfg  Config
		want []string // nil: it is right
	}{
		{Config{Device: "tun0"}, nil},
		{Config{Device: "tun0", MTU: 576, Addrs: prefixes("10.0.0.1/24")}, nil},
		{Config{Device: "tun0", Table: 100, Priority: 32750, ExcludeUIDs: []UIDRange{{0, 0}}}, nil},
		{Config{}, []string{"Device"}},
		{Config{Device: "a-name-far-too-long"}, []string{"Device", "a-name-far-too-long"}},
		{Config{Device: "tun0", MTU: 1279}, []string{"MTU", "1279", "IPv6"}},
		{Config{Device: "tun0", MTU: 67}, []string{"MTU", "67"}},
		{Config{Device: "tun0", MTU: 65536}, []string{"MTU", "65536"}},
		{Config{Device: "tun0", Table: -1}, []string{"Table", "-1"}},
		{Config{Device: "tun0", Table: 252}, []string{"Table", "252"}}, // the next is ours, too
		{Config{Device: "tun0", Table: 254}, []string{"Table", "254"}},
		{Config{Device: "tun0", Priority: 32751}, []string{"Priority", "32751"}},
		{Config{Device: "tun0", Priority: -5}, []string{"Priority", "-5"}},
		{Config{Device: "tun0", Addrs: []netip.Prefix{{}}}, []string{"Addrs"}},
		{Config{Device: "tun0", Include: prefixes("::ffff:1.2.3.4/128")}, []string{"Include", "::ffff:1.2.3.4/128"}},
		{Config{Device: "tun0", Exclude: []netip.Prefix{{}}}, []string{"Exclude"}},
		{Config{Device: "tun0", IncludeUIDs: []UIDRange{{2, 1}}}, []string{"IncludeUIDs", "2-1"}},
		{Config{Device: "tun0", ExcludeUIDs: []UIDRange{{2, 1<<32 - 1}}}, []string{"ExcludeUIDs", "2-4294967295"}},
		{Config{Device: "tun0", DNS: []netip.Addr{netip.IPv4Unspecified()}}, []string{"DNS", "0.0.0.0"}},
	} {
		c := tc.cfg.withDefaults()
		err := c.validate()
		if (err == nil) != (tc.want == nil) {
			t.Errorf("%+v: %v", tc.cfg, err)
			continue
		}
		for _, word := range tc.want {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%+v: %q does not say %q", tc.cfg, err, word)
			}
		}
	}
}

// TestDefaults: each field has the default that its comment promises; a field that is
// new has to be thought of here.
func TestDefaults(t *testing.T) {
	var none *Config
	got := none.withDefaults()
	zero := map[string]bool{
		"Device": true, "MTU": true, "Exclude": true, "IncludeUIDs": true, "ExcludeUIDs": true, "NoDNS": true,
		"NoLAN": true, "Inbound": true, "Strict": true, "DNS": true,
	}
	v := reflect.ValueOf(got)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() != zero[name] {
			t.Errorf("the default of %s is %v", name, v.Field(i))
		}
	}
	if got.Mark != DefaultMark || got.Table != DefaultTable || got.Priority != DefaultPriority || len(got.Addrs) != 2 || len(got.Include) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestUIDRange(t *testing.T) {
	if a, b := (UIDRange{7, 7}).String(), (UIDRange{7, 9}).String(); a != "7" || b != "7-9" {
		t.Error(a, b)
	}
}
