package main

import (
	"testing"

	"l3extract/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m) }

func TestDemo(t *testing.T) { exampletest.Want(t, run) }

func TestArguments(t *testing.T) { exampletest.Refuses(t, run, "unexpected argument", "more") }

// TestAnswerToNonsense feeds the DNS server what is no query.
func TestAnswerToNonsense(t *testing.T) {
	for _, query := range []string{"", "hello", "\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if reply, err := answer([]byte(query)); err == nil {
			t.Errorf("%q: %q", query, reply)
		}
	}
}
