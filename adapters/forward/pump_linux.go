package forward

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"l3extract/internal/flow"
	"l3extract/udp"
)

// evented makes a socket work without a goroutine of its own: what the client sends
// is sent on by whoever brings it, mostly the goroutine that reads the stack's conn,
// with one system call for all that it brings at a time, which never waits. Where
// something would have to wait (Route, a PacketListener) or to be told (refusals,
// the log) a goroutine does it, as long as there is more.
//
// One at a time owns the socket, with all that is not said to be another's; who
// finds it owned leaves a note.
type evented struct {
	ctx   context.Context // of the session
	owner atomic.Uint32
}

// The states of evented.owner.
const (
	nobody = iota
	owned
	noted // owned, and there is more to do
)

// letGo makes the socket evented, if all its upstream sockets can be, or it needs none. Its
// goroutine ends then.
func (s *socket) letGo(ctx context.Context) bool {
	for _, o := range s.outlets {
		if o.up == nil {
			return false
		}
	}
	if !s.served && len(s.outlets) == 0 {
		return false
	}
	return s.begin(ctx)
}

// begin makes the socket evented.
func (s *socket) begin(ctx context.Context) bool {
	s.ctx = ctx
	s.session.flows.Add(1) // until finish; the goroutine itself counts still
	s.sock.SetNotifier(s)
	return true
}

// Notify implements flow.Notifier.
func (s *socket) Notify(flow.Event) { s.wake() }

// wake does what there is to do, or has it done.
func (s *socket) wake() {
	for {
		switch {
		case s.owner.CompareAndSwap(nobody, owned):
			s.work(false)
			return
		case s.owner.CompareAndSwap(owned, noted), s.owner.Load() == noted:
			return
		}
	}
}

// pump is what sending takes, pooled.
type pump struct {
	batch udp.Batch
	g     sending
}

var pumps = sync.Pool{New: func() any { return new(pump) }}

// outcome is what a step of work came to.
type outcome uint8

const (
	goOn     outcome = iota
	drained          // nothing can be sent now
	mustWait         // what comes next may wait: a goroutine's work
	ended            // the Socket has
)

// maxSteps is how many batches of one socket the goroutines that others need send in a
// row: the reader brings no more meanwhile, but who accepts sockets would see no end.
const maxSteps = 16

// work sends what there is, as the owner. Only with patience may it wait.
func (s *socket) work(patience bool) {
	p := pumps.Get().(*pump)
	defer pumps.Put(p)
	for steps := 1; ; steps++ {
		result := s.step(p, patience)
		if result == goOn && !patience && steps == maxSteps {
			result = mustWait
		}
		switch result {
		case drained:
			if s.owner.CompareAndSwap(owned, nobody) {
				return
			}
			s.owner.Store(owned) // and look again
		case mustWait:
			s.session.flows.Go(func() { s.work(true) }) // ends when nothing is left; Serve awaits it
			return
		case ended:
			s.end()
			return
		}
	}
}

// end finishes the socket, which stays owned for ever.
func (s *socket) end() {
	done := func() {
		s.finish()
		s.session.flows.Done()
	}
	for _, o := range s.outlets {
		if o.up == nil {
			go done() // waits for the goroutine of o; Serve awaits it through flows
			return
		}
	}
	done()
}

// step sends some datagrams.
func (s *socket) step(p *pump, patience bool) outcome {
	n, err := s.sock.Lend(&p.batch)
	switch {
	case errors.Is(err, net.ErrClosed):
		return ended
	case err != nil:
		return goOn // an ICMP error from the client
	case n == 0:
		for _, o := range s.outlets {
			if o.up != nil {
				o.up.await(false)
			}
		}
		return drained
	}
	s.rebind()
	done, result := s.sendBatch(p, n, patience)
	p.batch.Return(done)
	return result
}

// sendBatch sends n lent datagrams and returns how many it is done with.
func (s *socket) sendBatch(p *pump, n int, patience bool) (done int, result outcome) {
	defer p.g.reset()
	var up *upstream // to which what is in p.g goes
	for i := range n {
		m := &p.batch.Messages[i]
		known := s.knows(m, patience)
		var next *upstream
		if known {
			next = s.quick(m)
		}
		if up != nil && next != up { // first what came before
			if done, result = s.flush(p, done, up, patience); done < i {
				return done, result
			}
			up = nil
		}
		switch {
		case next != nil:
			up = next
			p.g.add(m.Buffer, s.way.target, up)
			continue
		case known && s.way.handler != nil:
			s.handle(m.Source, m.Buffer)
			done = i + 1
			continue
		case !patience:
			return i, mustWait
		}
		s.pass(s.ctx, msg(m))
		done = i + 1
	}
	if up == nil {
		return n, goOn
	}
	return s.flush(p, done, up, patience)
}

// knows looks up where m goes, if that can be done at once.
func (s *socket) knows(m *udp.Message, patience bool) bool {
	if s.recall(m.Destination) {
		return true
	}
	if !patience && !s.session.routesAtOnce() {
		return false
	}
	s.lookUp(s.ctx, m.Source, m.Destination)
	return true
}

// quick returns the upstream socket by which m can be sent at once, or nil.
func (s *socket) quick(m *udp.Message) *upstream {
	o := s.way.outlet
	if o == nil || o.up == nil || s.session.lowHops(m.HopLimit, m.Source.Addr()) != 0 {
		return nil
	}
	return o.up
}

// msg is m as the calls for one datagram know it.
func msg(m *udp.Message) udp.Msg {
	return udp.Msg{Payload: m.Buffer, Source: m.Source, Destination: m.Destination, Size: m.Size, HopLimit: m.HopLimit}
}

// flush sends what is in p.g, which begins with datagram done of the batch, and
// returns how many of the batch are done with: not all if there is no room, or if
// something is to be done about an error.
func (s *socket) flush(p *pump, done int, up *upstream, patience bool) (int, outcome) {
	g := &p.g
	defer g.reset()
	for k, again := 0, 0; k < g.n; {
		n, errno := g.send(up.fd, k)
		run := g.first[k+1]-g.first[k] > 1
		switch {
		case errno == 0:
			s.session.stats.datagramsOut.Add(uint64(g.first[k+n] - g.first[k]))
			s.served = true
			k, again = k+n, 0
		case errno == unix.EAGAIN:
			up.await(true)
			return done + g.first[k], drained
		case errno == unix.ENOBUFS: // the host's queue is full: nobody's fault, and it passes
			s.session.stats.datagramsLost.Add(uint64(g.first[k+1] - g.first[k]))
			s.served = true
			k, again = k+1, 0
		case again < sendAgain:
			up.faults(s.faulted)
			again++
		case run: // each of its datagrams may do
			if takesNoRuns(errno) {
				up.single = true
			} else {
				up.apart = g.first[k+1] - g.first[k]
			}
			return done + g.first[k], goOn
		case !patience:
			return done + g.first[k], mustWait // which tries once more
		default:
			m := &p.batch.Messages[done+g.first[k]]
			s.lost(msg(m), errno)
			k, again = k+1, 0
		}
	}
	return done + g.packets, goOn
}

// takesNoRuns tells whether an error means that runs of datagrams cannot be sent from a
// socket at all. Others are of the target or of the moment: EINVAL for datagrams larger
// than the MTU on the way, EHOSTUNREACH, EPERM of a firewall.
func takesNoRuns(errno syscall.Errno) bool {
	return errno == unix.EIO || errno == unix.EOPNOTSUPP || errno == unix.ENOPROTOOPT
}
