package forward

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestDialsIntoABlackHole: 1000 SYNs of one source to hosts that never answer leave
// room for another source, whose first SYN is answered; every slot comes back and
// the counters add up.
func TestDialsIntoABlackHole(t *testing.T) {
	const syns, perDestination = 1000, 40
	release := make(chan struct{})
	var far []net.Conn // of the good connection; written before its SYN is answered
	srv := &Server{
		DialTimeout: -1,
		MaxDials:    800,
		Dialer: dialFunc(func(ctx context.Context, _, address string) (net.Conn, error) {
			if !strings.HasPrefix(address, "203.0.113.") {
				near, other := net.Pipe()
				far = append(far, other)
				return near, nil
			}
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, context.DeadlineExceeded
		}),
	}
	w := newWire(t, srv)
	greedy, modest := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	hole := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(1 + i/perDestination)}), 80)
	}
	for i := range syns {
		w.synFrom(netip.AddrPortFrom(greedy, uint16(1000+i)), hole(i))
	}
	const open = 800 - 800/8 // the rest is kept for modest sources
	wait(t, "the dials of the greedy source", func() bool {
		st := srv.Stats()
		return st.Dialing == open && st.Limited == syns-open
	})
	client := netip.AddrPortFrom(modest, 4000)
	w.synFrom(client, netip.MustParseAddrPort("198.51.100.7:80"))
	wait(t, "the modest source's answer", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.synacks[client] > 0
	})
	wait(t, "the others to be refused", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.resets == syns-open
	})
	close(release)
	wait(t, "the slots to come back", func() bool {
		st := srv.Stats()
		return st.Dialing == 0 && st.DialsFailed == open
	})
	if st := srv.Stats(); st.Streams != syns+1 || st.Dials != open+1 || st.Dials+st.Limited != st.Streams {
		t.Errorf("the counters do not add up: %+v", st)
	}
	for _, c := range far {
		_ = c.Close()
	}
}
