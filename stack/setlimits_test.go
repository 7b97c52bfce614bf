package stack

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"l3extract/l3conn"
	"l3extract/tcp"
	"l3extract/udp"
)

// TestSetLimits: the numbers of streams and sockets are changed while there are some.
func TestSetLimits(t *testing.T) {
	near, far := l3conn.Pipe(0, 0)
	s, err := New(near, &Config{TCP: tcp.Config{MaxStreams: 2}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := New(far, &Config{Addrs: serverAddrs})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	for _, one := range []*Stack{s, client} {
		go func() { ended <- one.Run(context.Background()) }() // awaited below
	}
	defer func() {
		s.Close()
		client.Close()
		<-ended
		<-ended
	}()
	streams, sockets := s.TCP(), s.UDP()
	dial := func() error {
		_, err := client.DialContext(t.Context(), "tcp", "192.0.2.1:80")
		return err
	}
	refused := func(when string) {
		t.Helper()
		if err := dial(); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want ECONNREFUSED", when, err)
		}
	}
	dialled := func(when string) {
		t.Helper()
		if err := dial(); err != nil {
			t.Errorf("%s: %v", when, err)
			return
		}
		if _, err := streams.AcceptStream(t.Context()); err != nil {
			t.Error(err)
		}
	}
	dialled("the first")
	dialled("the second")
	refused("the third of two")
	if err := s.SetLimits(&tcp.Config{MaxStreams: 3}, nil); err != nil {
		t.Fatal(err)
	}
	dialled("the third of three")
	refused("the fourth of three")
	if err := s.SetLimits(&tcp.Config{MaxStreamsPerSource: 2}, nil); err != nil {
		t.Fatal(err)
	}
	refused("the fourth of a source with two")
	if err := s.SetLimits(&tcp.Config{MaxStreams: 1 << 30}, nil); err == nil || !strings.Contains(err.Error(), "MaxStreams") {
		t.Errorf("a wrong limit: %v", err)
	}
	refused("after a wrong one, as before")
	if err := s.SetLimits(nil, &udp.Config{MaxSockets: 1}); err != nil {
		t.Fatal(err)
	}
	dialled("the defaults")
	for range 2 {
		c, err := client.DialContext(t.Context(), "udp", "192.0.2.1:53")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := sockets.AcceptSocket(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats().UDP; st.Sockets != 1 || st.Evicted != 1 {
		t.Errorf("%d sockets, %d evicted", st.Sockets, st.Evicted)
	}
}
