package netstack

import (
	"time"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
	gtcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// State is a TCP state of RFC 9293, or one of the engine's own around them.
type State uint8

// The states, in the engine's numbering.
const (
	StateEstablished = State(gtcp.StateEstablished)
	StateSynSent     = State(gtcp.StateSynSent)
	StateSynRecv     = State(gtcp.StateSynRecv)
	StateFinWait1    = State(gtcp.StateFinWait1)
	StateFinWait2    = State(gtcp.StateFinWait2)
	StateTimeWait    = State(gtcp.StateTimeWait)
	StateClose       = State(gtcp.StateClose)
	StateCloseWait   = State(gtcp.StateCloseWait)
	StateLastAck     = State(gtcp.StateLastAck)
	StateListen      = State(gtcp.StateListen)
	StateClosing     = State(gtcp.StateClosing)
	StateInitial     = State(gtcp.StateInitial)
	StateBound       = State(gtcp.StateBound)
	StateConnecting  = State(gtcp.StateConnecting)
	StateError       = State(gtcp.StateError)
)

var stateNames = map[State]string{
	StateEstablished: "ESTABLISHED", StateSynSent: "SYN-SENT", StateSynRecv: "SYN-RECEIVED",
	StateFinWait1: "FIN-WAIT-1", StateFinWait2: "FIN-WAIT-2", StateTimeWait: "TIME-WAIT",
	StateClose: "CLOSED", StateCloseWait: "CLOSE-WAIT", StateLastAck: "LAST-ACK",
	StateListen: "LISTEN", StateClosing: "CLOSING", StateInitial: "CLOSED",
	StateBound: "CLOSED", StateConnecting: "SYN-SENT", StateError: "CLOSED",
}

// String returns the name RFC 9293 uses.
func (s State) String() string {
	if name, ok := stateNames[s]; ok {
		return name
	}
	return "UNKNOWN"
}

// Info is what the engine knows of an endpoint.
type Info struct {
	State            State
	RTT, RTTVar, RTO time.Duration
	Cwnd, Ssthresh   uint32 // segments
	ReorderSeen      bool
	Retransmits      uint64 // segments sent again
	FastRetransmits  uint64
	Timeouts         uint64 // retransmission time-outs
	SegmentsIn       uint64
	SegmentsOut      uint64
}

// Info returns the endpoint's present figures; the counters stay as they were
// once it has closed.
func (e *Endpoint) Info() Info {
	var o gtcpip.TCPInfoOption
	_ = e.ep.GetSockOpt(&o) // this option cannot fail
	i := Info{
		State: e.State(), RTT: o.RTT, RTTVar: o.RTTVar, RTO: o.RTO,
		Cwnd: o.SndCwnd, Ssthresh: o.SndSsthresh, ReorderSeen: o.ReorderSeen,
	}
	if st, ok := e.ep.Stats().(*gtcp.Stats); ok {
		i.Retransmits = st.SendErrors.Retransmits.Value()
		i.FastRetransmits = st.SendErrors.FastRetransmit.Value()
		i.Timeouts = st.SendErrors.Timeouts.Value()
		i.SegmentsIn = st.SegmentsReceived.Value()
		i.SegmentsOut = st.SegmentsSent.Value()
	}
	return i
}
