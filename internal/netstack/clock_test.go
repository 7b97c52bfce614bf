package netstack

import (
	"testing"
	"time"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"l3extract/internal/drop"
	"l3extract/internal/link"
	"l3extract/l3conn"
)

// noting is a clock that notes for how long its timers are set.
type noting struct{ set []time.Duration }

func (n *noting) Now() time.Time { return time.Now() }

func (n *noting) AfterFunc(d time.Duration, _ func()) Timer {
	n.set = append(n.set, d)
	return n
}

func (n *noting) Stop() bool { return true }

func (n *noting) Reset(d time.Duration) bool {
	n.set = append(n.set, d)
	return true
}

// TestShortTimers: the engine's short timers take their time, none takes none, and
// the others are left alone.
func TestShortTimers(t *testing.T) {
	for _, c := range []struct{ asked, set time.Duration }{
		{0, 0}, {-1, -1}, {1, shortest}, {shortest - 1, shortest}, {shortest, shortest}, {time.Second, time.Second},
	} {
		n := new(noting)
		timer := patientClock{engineClock{n, time.Now()}}.AfterFunc(c.asked, nil)
		timer.Reset(c.asked)
		if len(n.set) != 2 || n.set[0] != c.set || n.set[1] != c.set {
			t.Errorf("%v is set for %v, want %v", c.asked, n.set, c.set)
		}
	}
}

// TestRecoveryReachesTheEngine: what is configured is what new endpoints have.
func TestRecoveryReachesTheEngine(t *testing.T) {
	for _, rack := range []bool{false, true} {
		x, _ := l3conn.Pipe(0, 0)
		l := link.New(link.Config{Conn: x, MTU: 1500, Drops: new(drop.Counters), Granted: func() int64 { return 0 }})
		e, err := New(Config{Link: l, Congestion: "reno", RACK: rack, MaxRetries: 3, ReceiveBuffer: 1 << 16, SendBuffer: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		var got gtcpip.TCPRecovery
		if err := e.stack.TransportProtocolOption(gtcp.ProtocolNumber, &got); err != nil {
			t.Fatal(err)
		}
		if (got&gtcpip.TCPRACKLossDetection != 0) != rack {
			t.Errorf("RACK %v: recovery is %v", rack, got)
		}
		e.Close()
	}
}
