package udp

import (
	"net/netip"
	"time"

	"l3extract/internal/flow"
)

// Info is the account of a Socket at one moment. Bytes are those of payloads.
type Info struct {
	ID                  flow.ID        // as Socket.ID
	Mapping             Mapping        // which datagrams share the Socket
	Source, Destination netip.AddrPort // as Socket.Source and Socket.Destination
	Dialed              bool           // opened from inside the stack

	Opened, Ended time.Time // Ended is zero while the Socket lives
	Cause         error     // why it ended; nil while it lives

	In, Out                   uint64 // bytes queued for the application, and sent by it
	DatagramsIn, DatagramsOut uint64 // the same in datagrams
	// DroppedIn counts datagrams that were received for the Socket and never
	// read: the queue or the memory was full, or they waited when it ended.
	DroppedIn uint64
	// DroppedOut counts datagrams that the filtering forbade or that found the
	// way out full.
	DroppedOut uint64

	Queued, QueuedBytes int // datagrams that wait, and what they count for
}

// Info returns the account of the Socket, after its end too.
func (s *Socket) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{
		ID: s.id, Mapping: s.mapping, Source: s.Source(), Destination: s.Destination(),
		Dialed: s.kind != accepted, Opened: s.opened, Ended: s.endedAt, Cause: s.cause,
		In: s.in.Load(), Out: s.out.Load(),
		DatagramsIn: s.datagramsIn.Load(), DatagramsOut: s.datagramsOut.Load(),
		DroppedIn: s.lostIn.Load(), DroppedOut: s.lostOut.Load(),
		Queued: s.queue.count, QueuedBytes: s.queue.bytes,
	}
}

// FlowInfo implements the account that the stack keeps of every flow.
func (s *Socket) FlowInfo() flow.Info {
	i := s.Info()
	state := "open"
	if !i.Ended.IsZero() {
		state = "closed"
	}
	return flow.Info{
		ID: i.ID, Network: network, Source: i.Source, Destination: i.Destination,
		Dialed: i.Dialed, Opened: i.Opened, Ended: i.Ended, State: state,
		In: i.In, Out: i.Out, Cause: i.Cause,
	}
}
