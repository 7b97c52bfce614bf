package stack

import (
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
		Budget: s.budget, ToMany: s.door.ToMany, Joined: s.groups.Joined, SourceKey: s.cfg.SourceKey,
		Now: s.cfg.Clock.Now,
		AfterFunc: func(d time.Duration, f func()) func() bool {
			return s.cfg.Clock.AfterFunc(d, f).Stop
		},
	}
	for _, p := range s.cfg.Addrs {
		env.Addrs = append(env.Addrs, p.Addr())
	}
	env.AllowICMP = s.icmp.mayReport
	env.Uint32 = s.cfg.uint32()
	t, err := udp.NewTable(&s.cfg.UDP, env)
	if err != nil {
		return err
	}
	s.udp = udpSide{table: t, acceptor: t.Acceptor()}
	return nil
}
