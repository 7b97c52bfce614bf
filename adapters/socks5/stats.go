package socks5

import "sync/atomic"

// Stats are what a Dialer has counted since it was made, but for PoolIdle.
type Stats struct {
	PoolIdle     int    // connections that are idle now
	PoolHits     uint64 // dials that took one of them
	PoolMisses   uint64 // dials that found none
	PoolDead     uint64 // idle ones that the proxy had ended, or that had lost their way
	PoolExpired  uint64 // idle ones that nobody needed in time
	Associations uint64 // that were made
	Fragments    uint64 // datagrams dropped because they were parts
	Foreign      uint64 // dropped because they did not come from the proxy
	Malformed    uint64 // dropped because they had no header that makes sense
}

type counters struct {
	poolHits, poolMisses, poolDead, poolExpired             atomic.Uint64
	associations, fragments, foreignDatagrams, badDatagrams atomic.Uint64
}

// Stats returns the counters.
func (d *Dialer) Stats() Stats {
	return Stats{
		PoolIdle: d.pool.size(),
		PoolHits: d.poolHits.Load(), PoolMisses: d.poolMisses.Load(),
		PoolDead: d.poolDead.Load(), PoolExpired: d.poolExpired.Load(),
		Associations: d.associations.Load(), Fragments: d.fragments.Load(),
		Foreign: d.foreignDatagrams.Load(), Malformed: d.badDatagrams.Load(),
	}
}
