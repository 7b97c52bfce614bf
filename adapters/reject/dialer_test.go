package reject

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"l3extract/adapters/outbound"
)

func TestAnswers(t *testing.T) {
	for a, want := range map[Answer]error{Refused: syscall.ECONNREFUSED, Prohibited: syscall.EACCES, Silence: syscall.ETIMEDOUT} {
		d := &Dialer{Answer: a}
		_, derr := d.DialContext(t.Context(), "tcp", "192.0.2.1:80")
		_, lerr := d.ListenPacket(t.Context(), "udp4", ":0")
		for _, err := range []error{derr, lerr} {
			var op *net.OpError
			if !errors.Is(err, want) || !errors.As(err, &op) || op.Timeout() != (a == Silence) {
				t.Errorf("%v: %v, want %v", a, err, want)
			}
			if errors.Is(err, outbound.ErrProxy) || !strings.Contains(err.Error(), "rejected") {
				t.Errorf("%v: %v", a, err)
			}
		}
		text, _ := a.MarshalText()
		var back Answer
		if err := back.UnmarshalText(text); err != nil || back != a {
			t.Errorf("%q is %v, %v", text, back, err)
		}
	}
	var a Answer
	if err := a.UnmarshalText([]byte("maybe")); err == nil || a != Refused {
		t.Errorf("maybe is %v, %v", a, err)
	}
}

var (
	_ outbound.Dialer         = (*Dialer)(nil)
	_ outbound.PacketListener = (*Dialer)(nil)
)
