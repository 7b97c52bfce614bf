package tcp

import "l3extract/internal/netstack"

// Driver hears of a stream that an event loop drives. Notify runs under locks of the
// engine, in any goroutine, and must only signal: then the loop looks at the stream.
// Events are edges and hints. HangUp also tells of the end of the flow, by whatever.
type Driver = netstack.Notifier

// Driven is a Stream below its blocking calls: nothing of it waits. It is what an
// event loop of this module works on, one call of each direction at a time; nobody
// else may read or write the stream then. Only packages of this module can use it.
type Driven Stream

// Drive makes d hear of everything from now on; a stream that is established or has
// ended by then tells of all at once. It is called once, before anything else is done
// with the stream, and what d points to must stay as it is.
func (s *Stream) Drive(d *Driver) {
	s.driver.Store(d)
	if s.ep.Load() != nil || (*Driven)(s).Cause() != nil {
		(*d).Notify(netstack.Readable | netstack.Writable | netstack.HangUp)
	}
}

// Stream returns the stream.
func (d *Driven) Stream() *Stream { return (*Stream)(d) }

// Established reports whether the handshake is done.
func (d *Driven) Established() bool { return (*Stream)(d).ep.Load() != nil }

// Cause returns why the flow ended, nil while it lives.
func (d *Driven) Cause() error {
	s := (*Stream)(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Answer answers the SYN in the background, if that is still to be done.
func (d *Driven) Answer() {
	if s := (*Stream)(d); s.pending != nil {
		s.beginHandshake()
	}
}

// Clear reports whether the packet conn takes more. If not, the channel is closed when
// it does.
func (d *Driven) Clear() (<-chan struct{}, bool) {
	wait, congested := d.env.Link.Congested()
	return wait, !congested
}

// Room returns about how many bytes Write would take, and whether it is worth while to
// give it less than that. If not, Writable follows.
func (d *Driven) Room() (n int, ok bool) {
	s := (*Stream)(d)
	ep := s.ep.Load()
	size := ep.SendBuffer()
	n = size - ep.SendQueued()
	// The engine tells of room when half of its buffer is free; waiting for that
	// with less makes few large segments of many small ones.
	if n < size/4 {
		if !s.tuneSend(ep) {
			return 0, false
		}
		n = ep.SendBuffer() - ep.SendQueued()
	}
	return n, true
}

// Write gives b to the engine and returns how much it took; Writable follows if that is
// not all.
func (d *Driven) Write(b []byte) (int, error) {
	s := (*Stream)(d)
	if err := s.stopWriting(); err != nil {
		return 0, s.opError(opWrite, err)
	}
	n, err := s.ep.Load().Write(b)
	s.sent += n
	s.out.Add(uint64(n))
	if err == netstack.ErrWouldBlock {
		err = nil
	}
	if err != nil {
		return n, s.opError(opWrite, s.ended(err))
	}
	return n, nil
}

// Discard throws away what was received, and all that will be: CloseRead for a stream
// whose peer must not stall.
func (d *Driven) Discard() { _ = (*Stream)(d).CloseRead() }

// tell lets the driver hear that the flow has ended.
func (s *Stream) tell() {
	if d := s.driver.Load(); d != nil {
		(*d).Notify(netstack.HangUp)
	}
}
