//go:build !race

package forward

import (
	"io"
	"net"
	"testing"

	"l3extract/stack"
)

// TestIdleHoldsNoBuffer: a relay that has moved bytes and is idle holds less heap
// than the smallest buffer that it could hold, the streams and sockets of all four
// ends included.
func TestIdleHoldsNoBuffer(t *testing.T) { eachWay(t, testIdleHoldsNoBuffer) }

func testIdleHoldsNoBuffer(t *testing.T) {
	const relays, limit = 200, 32 << 10
	r := newRig(t, &Server{}, stack.Config{TCP: lazy})
	l := r.listen("198.51.100.7:80")
	before := heap()
	var ends []net.Conn
	for range relays {
		c := r.dial("198.51.100.7:80")
		up, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer up.Close()
		echo(t, c, up)
		ends = append(ends, c, up)
	}
	each := (heap() - before) / relays
	t.Logf("%d bytes of heap for each", each)
	if each > limit {
		t.Errorf("an idle relay holds %d bytes, want less than %d", each, limit)
	}
	if n, err := ends[0].Read(nil); n != 0 || err != nil && err != io.EOF {
		t.Error(err) // they are alive until here
	}
}
