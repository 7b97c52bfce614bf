package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"l3extract/l3conn"
	"l3extract/l3conn/fault"
	"l3extract/stack"
	"l3extract/tcp"
)

// measured is one transfer.
type measured struct {
	Link    link    `json:"link"`
	Variant variant `json:"variant"`
	Seed    uint64  `json:"seed"`

	Mbit        float64 `json:"mbit_per_second"`
	Bytes       int64   `json:"bytes"` // in the span; all compared
	Sent        uint64  `json:"segments_sent"`
	Retransmits uint64  `json:"retransmits"` // segments, in the whole transfer
	Timeouts    uint64  `json:"timeouts"`
	RTT         float64 `json:"rtt_ms"`       // as the sender has measured it
	Lost        uint64  `json:"packets_lost"` // by the link, both ways
	Error       string  `json:"error,omitempty"`
}

// plan says how long a transfer takes and how a link reorders.
type plan struct {
	span, warm time.Duration // least values
	spanRTTs   int           // in round trips, if that is longer
	warmRTTs   int
	late       float64 // of a reordered packet, in round trips
	seed       uint64
}

// times returns how long to wait and then to measure.
func (p plan) times(rtt time.Duration) (warm, span time.Duration) {
	return max(p.warm, time.Duration(p.warmRTTs)*rtt), max(p.span, time.Duration(p.spanRTTs)*rtt)
}

// patience is how long a transfer may take beyond its time.
const patience = 30 * time.Second

// pattern is what is sent, again and again; twice, so that what was read at any
// offset can be compared in one piece.
var pattern = func() []byte {
	b := make([]byte, 1<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return append(b, b...)
}()

// transfer measures one cell.
func transfer(ctx context.Context, l link, v variant, p plan) (m measured) {
	m = measured{Link: l, Variant: v, Seed: p.seed}
	if err := m.run(ctx, p); err != nil {
		m.Error = err.Error()
	}
	return m
}

func (m *measured) run(ctx context.Context, p plan) error {
	settings, err := m.Variant.config()
	if err != nil {
		return err
	}
	warm, span := p.times(m.Link.RTT)
	ctx, cancel := context.WithTimeoutCause(ctx, warm+span+patience, errors.New("the transfer hangs"))
	defer cancel()

	x, y := l3conn.BatchPipe(1024, 0, 64)
	bad, err := fault.New(y, m.Link.faults(p))
	if err != nil {
		return err
	}
	defer bad.Close()
	var running sync.WaitGroup
	defer running.Wait()
	start := func(conn l3conn.Conn, addr string) (*stack.Stack, error) {
		s, err := stack.New(conn, &stack.Config{TCP: settings, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}})
		if err == nil {
			running.Go(func() { _ = s.Run(ctx) }) // ends with Close
		}
		return s, err
	}
	receiver, err := start(x, "10.0.0.2/24")
	if err != nil {
		return err
	}
	defer receiver.Close()
	sender, err := start(bad, "10.0.0.1/24")
	if err != nil {
		return err
	}
	defer sender.Close()

	to := sender.TCP()
	in, err := receiver.DialContext(ctx, "tcp", "10.0.0.1:80")
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	out, err := to.AcceptStream(ctx)
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	running.Go(func() { send(out) }) // ends with the Close of its Stack
	if err := m.receive(in, warm, span); err != nil {
		return err
	}
	m.account(out.Info(), bad.Stats())
	return nil
}

// faults is the link as seen from the sender's end.
func (l link) faults(p plan) *fault.Config {
	d := fault.Direction{Drop: l.Loss, Reorder: l.Reorder, ReorderDelay: time.Duration(float64(l.RTT) * p.late)}
	data := d
	data.Delay = l.RTT
	return &fault.Config{Seed: p.seed, In: d, Out: data}
}

// send writes the pattern until the stream ends.
func send(s *tcp.Stream) {
	const period = 1 << 20
	for at := 0; ; {
		n, err := s.Write(pattern[at : at+64<<10])
		if err != nil {
			return
		}
		at = (at + n) % period
	}
}

// receive counts what comes in the span after warm, and compares all of it.
func (m *measured) receive(c interface {
	Read(b []byte) (int, error)
	SetReadDeadline(t time.Time) error
}, warm, span time.Duration) error {
	const period = 1 << 20
	begin := time.Now()
	if err := c.SetReadDeadline(begin.Add(warm + span + patience)); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	var from time.Time
	for at := 0; ; {
		n, err := c.Read(buf)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if !bytes.Equal(buf[:n], pattern[at:at+n]) {
			return errors.New("what arrived is not what was sent")
		}
		at = (at + n) % period
		now := time.Now()
		switch took := now.Sub(begin); {
		case took < warm:
			continue
		case from.IsZero():
			from = now // and what has come by now does not count
			continue
		}
		m.Bytes += int64(n)
		if took := now.Sub(from); took >= span {
			m.Mbit = float64(m.Bytes) * 8 / 1e6 / took.Seconds()
			return nil
		}
	}
}

func (m *measured) account(i tcp.Info, s fault.Stats) {
	m.Sent, m.Retransmits, m.Timeouts = i.SegmentsOut, i.Retransmits, i.Timeouts
	m.RTT = float64(i.RTT) / float64(time.Millisecond)
	m.Lost = s.In.Dropped + s.Out.Dropped
}
