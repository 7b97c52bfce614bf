package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// twoEnds runs in a network namespace of its own: an exit, an entry with a TUN through
// which curl fetches from a server that only the exit reaches, twice, with another exit
// in between. $0 is this program.
const twoEnds = `
set -e
ip link set lo up
"$0" keys keys
head -c 3000000 /dev/urandom >page
exit_() { "$0" exit $WAY -keys keys -listen 127.0.0.1:7443 -map 192.0.2.80:80=127.0.0.1:8099 >exit.out & x=$!; while ! [ -s exit.out ]; do sleep 0.05; done; }
fetch() {
	(printf 'HTTP/1.0 200 OK\r\n\r\n'; cat page) | nc -N -l 127.0.0.1 8099 >/dev/null & w=$!
	curl -sS --retry 20 --retry-delay 1 --retry-all-errors -m 20 http://192.0.2.80/ >got
	wait $w
	cmp page got && echo same
}
exit_
"$0" entry $WAY -keys keys -connect 127.0.0.1:7443 -tun tt0 -addr 198.18.0.1/24 -route 192.0.2.0/24 >entry.out & e=$!
while ! grep -q open entry.out; do sleep 0.05; done
fetch
kill $x; wait $x
: >exit.out
exit_
fetch
kill $e; wait $e
kill $x; wait $x
echo both ended well
`

func TestTUN(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a TUN needs root")
	}
	for _, name := range []string{"unshare", "ip", "nc", "curl", "cmp"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{"", "-websocket"} {
		t.Run("way="+way, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "unshare", "--net", "--pid", "--fork", "--kill-child", "bash", "-c", twoEnds, self)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), child+"=1", "WAY="+way)
			out, err := cmd.CombinedOutput()
			if err != nil || strings.Count(string(out), "same\n") != 2 || !strings.Contains(string(out), "both ended well") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
