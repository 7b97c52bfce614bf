package stack

import (
	"l3extract/tcp"
	"l3extract/udp"
)

// SetLimits changes how many handshakes, streams and sockets there may be, at any time: the
// fields of tcp.Config and udp.Config whose names begin with Max and that count flows;
// their other fields do not count, zero is the default, and nil is all defaults. Flows that
// are open stay. A limit per destination that Config has switched off stays off. A wrong
// value is one error that names the field, and changes nothing.
func (s *Stack) SetLimits(t *tcp.Config, u *udp.Config) error {
	if err := s.tcp.table.SetLimits(t); err != nil {
		return err
	}
	s.udp.table.SetLimits(u)
	return nil
}
