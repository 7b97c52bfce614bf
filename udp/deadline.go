package udp

import "time"

// deadlines holds the deadlines of a Socket, under its mutex. A timer runs only
// while a reader waits for something with a deadline, so that setting one before
// every call costs next to nothing. Writes never wait and need no timer.
type deadlines struct {
	readDeadline, writeDeadline time.Time
	timer                       *time.Timer // wakes the readers; nil until needed
	armed                       bool        // timer runs, for readDeadline
}

func passed(deadline time.Time) bool {
	return !deadline.IsZero() && time.Until(deadline) <= 0
}

// armRead makes sure that readers wake at the deadline. s.mu is held.
func (s *Socket) armRead() {
	if s.readDeadline.IsZero() || s.armed {
		return
	}
	s.armed = true
	d := time.Until(s.readDeadline)
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.readDeadlinePassed) // ended by end, or by itself
	} else {
		s.timer.Reset(d)
	}
}

// readDeadlinePassed runs on the timer's goroutine. The deadline may have been
// moved: the readers look.
func (s *Socket) readDeadlinePassed() {
	s.mu.Lock()
	s.armed = false
	s.mu.Unlock()
	s.readable.Broadcast()
}

// disarm stops the timer. s.mu is held.
func (s *Socket) disarm() {
	if s.armed {
		s.timer.Stop() // a call that is too late to stop does no harm
		s.armed = false
	}
}

// SetDeadline sets both deadlines. A zero time is none. Calls that wait obey the
// new deadline at once.
func (s *Socket) SetDeadline(t time.Time) error { return s.setDeadlines(t, true, true) }

// SetReadDeadline sets when reads end with os.ErrDeadlineExceeded.
func (s *Socket) SetReadDeadline(t time.Time) error { return s.setDeadlines(t, true, false) }

// SetWriteDeadline sets from when on writes fail with os.ErrDeadlineExceeded;
// they never wait.
func (s *Socket) SetWriteDeadline(t time.Time) error { return s.setDeadlines(t, false, true) }

func (s *Socket) setDeadlines(t time.Time, read, write bool) error {
	s.mu.Lock()
	if ended := s.ended; ended != nil {
		s.mu.Unlock()
		return s.opError(opSet, nil, ended)
	}
	if write {
		s.writeDeadline = t
	}
	if read {
		s.readDeadline = t
		s.disarm()
	}
	s.mu.Unlock()
	if read {
		s.readable.Broadcast() // those who wait arm the timer anew, or give up
	}
	return nil
}
