package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"l3extract/examples/internal/exampletest"
	"l3extract/internal/leak"
)

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		main()
		return
	}
	leak.Main(m) // no namespace of its own: its loopback would be down
}

func TestDemo(t *testing.T) { exampletest.Want(t, run) }

// TestWebSocket is the demo over the other way.
func TestWebSocket(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-websocket"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		"over a WebSocket", "200 OK, 4194304 bytes", "1 lost, 1 made anew", "a stranger with other keys: the exit does not know our token",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		reason string
		args   []string
	}{
		{"unexpected argument", []string{"-websocket", "more"}},
		{"none of keys, exit and entry", []string{"middle"}},
		{"one folder", []string{"keys"}},
		{"-listen is needed", []string{"exit", "-keys", "x"}},
		{"-keys is needed", []string{"exit", "-listen", ":0"}},
		{"-connect is needed", []string{"entry", "-keys", "x"}},
		{"one of -get and -tun", []string{"entry", "-keys", "x", "-connect", "y"}},
		{"one of -get and -tun", []string{"entry", "-keys", "x", "-connect", "y", "-get", "u", "-tun", "t"}},
		{"no such file", []string{"exit", "-keys", "nowhere", "-listen", "127.0.0.1:0"}},
		{"from=to", []string{"exit", "-keys", "x", "-listen", ":0", "-map", "1.2.3.4:5"}},
	} {
		exampletest.Refuses(t, run, c.reason, c.args...)
	}
}
