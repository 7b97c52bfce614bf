package tcp

import (
	"net/netip"
	"time"
)

// Info is the account of a stream at one moment. The figures stay as they were when
// the stream has ended.
type Info struct {
	ID                  ID             // as Stream.ID
	Source, Destination netip.AddrPort // as Stream.Source and Stream.Destination
	Dialed              bool           // opened from inside the stack

	Opened time.Time // when the stack first knew of it
	Ended  time.Time // zero while the flow lives
	Cause  error     // why it ended; nil while it lives

	State string // as RFC 9293 names it, such as "ESTABLISHED"

	BytesIn   uint64 // read or discarded by the application
	BytesOut  uint64 // accepted by Write
	BytesLost uint64 // accepted, closed, and not acknowledged within CloseTimeout

	Unread   int // bytes received and not read
	Unsent   int // bytes in the write buffer
	Unacked  int // bytes handed to the network stack and not acknowledged
	Receive  int // receive buffer, in bytes; the window is half of it
	Send     int // send buffer, in bytes
	Buffered int // capacity of the write buffer, in bytes; 0 if there is none

	RTT, RTTVar, RTO time.Duration // smoothed round trip, its variance, retransmission time-out
	Cwnd, Ssthresh   uint32        // congestion window and slow-start threshold, in segments
	Retransmits      uint64        // segments sent again
	FastRetransmits  uint64        // those of them that no time-out caused
	Timeouts         uint64        // retransmission time-outs
	SegmentsIn       uint64
	SegmentsOut      uint64
}

// Info returns the stream's account as of now. It asks the network stack under the
// connection's lock: not something to do for every packet.
func (s *Stream) Info() Info {
	f := s.FlowInfo()
	i := Info{
		ID: f.ID, Source: f.Source, Destination: f.Destination, Dialed: f.Dialed,
		Opened: f.Opened, Ended: f.Ended, Cause: f.Cause, State: f.State,
		BytesIn: f.In, BytesOut: f.Out, BytesLost: s.lost.Load(), Buffered: s.wb.size,
	}
	s.mu.Lock()
	i.Unsent = s.wb.waiting()
	s.mu.Unlock()
	if ep := s.ep.Load(); ep != nil {
		e := ep.Info()
		i.RTT, i.RTTVar, i.RTO = e.RTT, e.RTTVar, e.RTO
		i.Cwnd, i.Ssthresh = e.Cwnd, e.Ssthresh
		i.Retransmits, i.FastRetransmits, i.Timeouts = e.Retransmits, e.FastRetransmits, e.Timeouts
		i.SegmentsIn, i.SegmentsOut = e.SegmentsIn, e.SegmentsOut
		i.Unread, i.Unacked = ep.Buffered(), ep.SendQueued()
		i.Receive, i.Send = ep.ReceiveBuffer(), ep.SendBuffer()
	}
	return i
}
