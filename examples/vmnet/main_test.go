package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"l3extract/internal/leak"
)

// asProgram in the environment makes the test binary the program.
const asProgram = "VMNET_TEST_AS_PROGRAM"

// patience bounds how long a test waits for what must come.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	leak.Main(m)
}

func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "want one of -listen and -tap"},
		{"-tap a -listen unix:///a", "want one of -listen and -tap"},
		{"-listen /tmp/a", "want unix://, tcp://"},
		{"-listen unix://a", "want unix:///PATH"},
		{"-listen tcp://localhost", "want tcp://ADDRESS:PORT"},
		{"-listen udp://127.0.0.1:1", "-peer is missing"},
		{"-listen unix:///a -peer b", "-peer is for"},
		{"-tap a -net 10.0.0.1", "invalid value \"10.0.0.1\" for flag -net"},
		{"-tap a -net fd00::1/64", "the other family"},
		{"-tap a -net 10.0.0.0/24", "Config.Addrs 10.0.0.0/24 is the address of a network"},
		{"-tap a -net6 fd00::1/48", "Config.Addrs fd00::1/48 is no /64"},
		{"-tap a -net none -net6 none", "both none"},
		{"-tap a -mtu 1000", "Config.MTU 1000 is not within 1280"},
		{"-tap a -domain a..b", "Config.Domain"},
		{"-tap a -dns gopher://x", "-dns"},
		{"-tap a -guests 0", "less than 1"},
		{"-tap a -loglevel loud", "want debug, info"},
		{"-tap a -drain -1s", "negative"},
		{"-tap a b", `unexpected argument "b"`},
		{"-nothing", "not defined"},
	} {
		var out, errout bytes.Buffer
		code := command(t.Context(), strings.Fields(c.args), &out, &errout)
		if s := errout.String(); code != exitUsage || !strings.Contains(s, c.want) || strings.Count(s, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q; want %d and one line with %q", c.args, code, s, exitUsage, c.want)
		}
	}
	var out bytes.Buffer
	if code := command(t.Context(), []string{"-help"}, &out, nil); code != 0 || !strings.Contains(out.String(), "-netdev stream,id=n0") {
		t.Errorf("-help: exit code %d, %q", code, out.String())
	}
}
