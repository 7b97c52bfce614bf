package forward

import "sync/atomic"

// Stats is the account of a Server over all the stacks that it served or serves.
type Stats struct {
	Relays  int64 // streams joined with an upstream now
	Sockets int64 // UDP sockets served now
	Dialing int64 // dials in flight

	Streams     uint64 // streams taken
	Dials       uint64 // dials begun
	DialsFailed uint64 // those that failed; dials that Policy stopped are not among them
	DialsCut    uint64 // dials of more than a second that gave way to others, when MaxDials were in flight
	Limited     uint64 // streams refused because of MaxDials and MaxDialsPerDestination
	Unroutable  uint64 // streams and datagrams that Route refused
	Looped      uint64 // streams and datagrams refused because they were upstreams of ours that came back
	Idle        uint64 // relays ended by IdleTimeout and HalfCloseTimeout

	Sniffed, SniffedNames uint64 // streams that Sniff wanted looked at, and those that named a host

	PolicyStreams   uint64 // streams that Policy refused
	PolicyDatagrams uint64 // datagrams to and from where Policy lets none

	DatagramsOut, DatagramsIn uint64 // sent to upstreams, and received from them for the clients
	// DatagramsLost counts those that could not be sent on, either way, and those
	// that came for a client from where its mapping takes none.
	DatagramsLost uint64
	// OutletsOver counts upstream sockets that were closed because their Socket needed more
	// than one may have.
	OutletsOver uint64
	// DatagramErrors counts the ICMP errors of upstreams about datagrams, and
	// DatagramErrorsForged those about targets that the client has not asked, or not
	// among the last 64: these are not passed on.
	DatagramErrors, DatagramErrorsForged uint64

	Pings       uint64 // sent to their targets
	Pongs       uint64 // answers of targets passed on
	PingErrors  uint64 // ICMP errors about pings passed on
	PingsLate   uint64 // pings that were not answered in time
	PingsLost   uint64 // pings that could not be sent, and that Route refused
	PingsOver   uint64 // pings beyond MaxPings and MaxPingsPerSource
	PolicyPings uint64 // pings that Policy refused
}

// counters are the Stats as they are counted.
type counters struct {
	relays, sockets, dialing                                         atomic.Int64
	streams, dials, dialsFailed, dialsCut, limited, unroutable, idle atomic.Uint64
	looped                                                           atomic.Uint64
	sniffed, sniffedNames                                            atomic.Uint64
	policyStreams, policyDatagrams                                   atomic.Uint64
	datagramsOut, datagramsIn, datagramsLost, outletsOver            atomic.Uint64
	datagramErrors, datagramErrorsForged                             atomic.Uint64
	pings, pongs, pingErrors, pingsLate                              atomic.Uint64
	pingsLost, pingsOver, policyPings                                atomic.Uint64
}

// Stats returns the account as of now.
func (f *Server) Stats() Stats {
	c := &f.stats
	return Stats{
		Relays: c.relays.Load(), Sockets: c.sockets.Load(), Dialing: c.dialing.Load(),
		Streams: c.streams.Load(), Dials: c.dials.Load(), DialsFailed: c.dialsFailed.Load(), DialsCut: c.dialsCut.Load(),
		Limited: c.limited.Load(), Unroutable: c.unroutable.Load(), Idle: c.idle.Load(), Looped: c.looped.Load(),
		Sniffed: c.sniffed.Load(), SniffedNames: c.sniffedNames.Load(),
		PolicyStreams: c.policyStreams.Load(), PolicyDatagrams: c.policyDatagrams.Load(),
		DatagramsOut: c.datagramsOut.Load(), DatagramsIn: c.datagramsIn.Load(),
		DatagramsLost: c.datagramsLost.Load(), OutletsOver: c.outletsOver.Load(), DatagramErrors: c.datagramErrors.Load(),
		DatagramErrorsForged: c.datagramErrorsForged.Load(),
		Pings:                c.pings.Load(), Pongs: c.pongs.Load(), PingErrors: c.pingErrors.Load(), PingsLate: c.pingsLate.Load(),
		PingsLost: c.pingsLost.Load(), PingsOver: c.pingsOver.Load(), PolicyPings: c.policyPings.Load(),
	}
}
