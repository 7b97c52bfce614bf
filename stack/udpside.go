package stack

import (
	"encoding/binary"
	"io"
	"time"

	"l3extract/udp"
)

// udpSide is what a Stack has of UDP.
type udpSide struct {
	table    *udp.Table
	acceptor *udp.Acceptor
}

func (s *Stack) initUDP() error {
	env := udp.Env{
		Out: s.link, Flows: s.flows, Drops: &s.drops, MTU: s.cfg.MTU,
		Budget: s.budget, SourceKey: s.cfg.SourceKey,
		Now: s.cfg.Clock.Now,
		AfterFunc: func(d time.Duration, f func()) func() bool {
			return s.cfg.Clock.AfterFunc(d, f).Stop
		},
	}
	for _, p := range s.cfg.Addrs {
		env.Addrs = append(env.Addrs, p.Addr())
	}
	if r := s.cfg.Rand; r != nil {
		env.Uint32 = func() uint32 {
			var b [4]byte
			_, _ = io.ReadFull(r, b[:]) // a reader that fails gives a fixed number: it is for tests
			return binary.NativeEndian.Uint32(b[:])
		}
	}
	t, err := udp.NewTable(&s.cfg.UDP, env)
	if err != nil {
		return err
	}
	s.udp = udpSide{table: t, acceptor: t.Acceptor()}
	return nil
}
