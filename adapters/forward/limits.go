package forward

import "l3extract/internal/limit"

// Limits are the bounds of dials, as the fields of Server of the same names, which they
// take the place of.
type Limits struct {
	MaxDials               int // in flight
	MaxDialsPerSource      int // of one client address
	MaxDialsPerDestination int // to one address and port
}

// SetLimits changes the bounds of dials, also while f serves. Dials in flight go on. A bound
// per destination that was switched off when f began to serve stays off. It may be called at
// any time.
func (f *Server) SetLimits(l Limits) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limits = &l
	for _, n := range f.serving {
		n.dials.table.SetConfig(f.dialLimitsLocked())
	}
}

// dialLimits returns the bounds that are in force.
func (f *Server) dialLimits() limit.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dialLimitsLocked()
}

func (f *Server) dialLimitsLocked() limit.Config {
	l := Limits{f.MaxDials, f.MaxDialsPerSource, f.MaxDialsPerDestination}
	if f.limits != nil {
		l = *f.limits
	}
	return limit.Config{
		Total:          orDefault(l.MaxDials, DefaultMaxDials),
		PerSource:      orDefault(l.MaxDialsPerSource, 0),
		PerDestination: orDefault(l.MaxDialsPerDestination, DefaultMaxDialsPerDestination),
	}
}
