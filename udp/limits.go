package udp

// SetLimits changes MaxSockets and MaxSocketsPerSource to those of c, which may be nil; its
// other fields do not count. Sockets beyond them are evicted as new ones come. Only package
// stack has a use for it.
func (t *Table) SetLimits(c *Config) {
	var r Config
	if c != nil {
		r = *c
	}
	r = r.defaults()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cfg.MaxSockets, t.cfg.MaxSocketsPerSource = r.MaxSockets, r.MaxSocketsPerSource
}
