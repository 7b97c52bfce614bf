package exampletest

import (
	"testing"

	"l3extract/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		want, got string
		ok        bool
	}{
		{"", "", true},
		{"a\nb[0-9]+\n", "a\nb12\n", true},
		{"a\n", "ab\n", false},
		{"a\nb\n", "a\n", false},
		{"a\n", "a\nb\n", false},
		{"a\n...\nb\n", "a\nx\ny\nb\n", true},
		{"a\n...\nb\n", "a\nx\ny\n", false},
		{"a\n...\n", "a\nx\ny\n", true},
		{"\na\n", "\na\n", true},
	} {
		if err := match(lines(tc.want), lines(tc.got)); (err == nil) != tc.ok {
			t.Errorf("%q, %q: %v", tc.want, tc.got, err)
		}
	}
}
