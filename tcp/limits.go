package tcp

import "l3extract/internal/limit"

// SetLimits changes the numbers of handshakes and streams to those of c, which may be nil
// and is judged as a whole; its other fields do not count. What is open stays. The limits per
// destination cannot be switched on. Only package stack has a use for it.
func (t *Table) SetLimits(c *Config) error {
	r, err := c.Resolved()
	if err != nil {
		return err
	}
	t.syns.handshakes.SetConfig(limit.Config{
		Total: r.MaxHandshakes, PerSource: r.MaxHandshakesPerSource, PerDestination: r.MaxHandshakesPerDestination,
	})
	t.syns.streams.SetConfig(limit.Config{
		Total: r.MaxStreams, PerSource: r.MaxStreamsPerSource, PerDestination: r.MaxStreamsPerDestination,
	})
	return nil
}
