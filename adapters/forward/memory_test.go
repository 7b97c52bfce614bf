package forward

import (
	"errors"
	"os"
	"testing"
	"time"

	"l3extract/stack"
)

// TestMemoryComesBack: what a client has sent and its server does not read counts for the
// stack's memory, and no longer when the client has reset the connection.
func TestMemoryComesBack(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		r := newRig(t, new(Server), stack.Config{TCP: lazy})
		c, up := r.joined("198.51.100.7:80")
		if err := up.SetReadBuffer(64 << 10); err != nil {
			t.Fatal(err)
		}
		for b := make([]byte, 1<<20); r.server.Stats().Memory.Receive < 16<<10; {
			if err := c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(b); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		}
		_ = c.Reset()
		wait(t, "the memory to come back", func() bool { return r.server.Stats().Memory.Used == 0 })
	})
}
