package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"l3extract/internal/flow"
	"l3extract/internal/netstack"
)

// flushTime is how long the end waits for the writer: resets should go out, but
// a conn that takes nothing must not hold anybody up.
const flushTime = 100 * time.Millisecond

// unblockTime is how long the end waits for calls of the conn that a deadline or
// Close has ended: some files promise it and do not keep it.
const unblockTime = time.Second

// Run reads and writes packets until the Stack is closed, ctx ends or the conn
// fails. It returns nil after Close, the context's cause, or the conn's error,
// once every goroutine that it started has ended. It must be called once;
// another call returns ErrRunning.
func (s *Stack) Run(ctx context.Context) error {
	s.mu.Lock()
	switch {
	case s.run:
		s.mu.Unlock()
		return ErrRunning
	case s.cause != nil:
		s.mu.Unlock()
		<-s.done
		return nil // closed before it ran
	}
	s.run = true
	s.mu.Unlock()
	defer close(s.done)

	engine, err := s.newEngine()
	if err != nil {
		s.end(fmt.Errorf("%w: %w: %w", flow.Shutdown, net.ErrClosed, err))
		s.stopSides()
		return err
	}
	s.engine.Store(engine)

	// The goroutines of the Stack end with their context; it outlives the
	// caller's, because the end is orderly.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var g errgroup.Group
	s.startSides(inner, &g)
	writer := make(chan struct{})
	go func() { // the writer of the conn; awaited in finish
		defer close(writer)
		s.link.Write(inner)
	}()
	reader := make(chan struct{})
	go func() { // the reader of the conn; awaited in finish if anything can end it
		defer close(reader)
		s.link.Read(s.deliver)
	}()
	close(s.started)

	select {
	case <-s.closing:
	case <-ctx.Done():
		s.end(fmt.Errorf("%w: %w: %w", flow.Shutdown, net.ErrClosed, context.Cause(ctx)))
	case <-s.link.Broken():
		s.end(fmt.Errorf("%w: %w: %w", flow.ConnFailed, net.ErrClosed, s.link.Err()))
	}
	s.finish(engine, cancel, &g, reader, writer)

	cause := s.Err()
	switch {
	case errors.Is(cause, flow.ConnFailed):
		return s.link.Err()
	case ctx.Err() != nil && errors.Is(cause, context.Cause(ctx)):
		return context.Cause(ctx)
	}
	return nil
}

// finish takes everything down, in the order in which nobody waits for somebody
// who is gone: no packet in, no flow, no engine, no packet out.
func (s *Stack) finish(engine *netstack.Shards, cancel context.CancelFunc, g *errgroup.Group, reader, writer <-chan struct{}) {
	s.gate.Lock()
	s.shut = true
	s.gate.Unlock()

	s.stopSides()
	engine.Close()
	s.link.Stop()
	flushed := within(flushTime, writer)
	cancel()
	readLeft, writeLeft := s.link.Unblock(!flushed)
	_ = g.Wait() // the sides return no errors: their causes are the flows'
	read := s.join(reader, "Read", readLeft)
	written := s.join(writer, "Write", writeLeft)
	if read && written {
		s.link.Release()
	}
}

// within reports whether done is closed in time.
func within(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	}
	select { // both at once
	case <-done:
		return true
	default:
		return false
	}
}

// join waits for a goroutine that uses the conn. One that is left in its call,
// because nothing can end that or because what should have does not, is remembered
// for Stats.
func (s *Stack) join(done <-chan struct{}, call string, left bool) bool {
	wait := unblockTime
	if left {
		wait = 0
	}
	if within(wait, done) {
		return true
	}
	s.cfg.Logger.Warn("a goroutine stays in the packet conn, which neither a deadline nor Close has ended", "call", call)
	s.mu.Lock()
	s.abandoned = append(s.abandoned, done)
	s.mu.Unlock()
	return false
}

// ShutdownError says that Shutdown had to reset streams.
type ShutdownError struct {
	Reset int   // streams that were reset
	Cause error // why it did not wait longer: the context's cause
}

// Error implements error.
func (e *ShutdownError) Error() string {
	return fmt.Sprintf("stack: shutdown reset %d streams: %v", e.Reset, e.Cause)
}

// Unwrap returns Cause.
func (e *ShutdownError) Unwrap() error { return e.Cause }

// Shutdown ends the Stack gently, as http.Server.Shutdown does: it stops
// accepting, waits until streams and closing endpoints have finished, or ctx
// ends, then closes the Stack. It returns nil if every stream finished, and else
// a *ShutdownError with the number that was reset, which matches the context's
// cause. UDP sockets are served until the last stream is gone. A Stack that ends
// for another reason meanwhile says so by its Run.
func (s *Stack) Shutdown(ctx context.Context) error {
	s.tcp.table.StopAccepting()
	s.tcp.drained(ctx)
	var err error
	if n := s.tcp.streams(); n > 0 && ctx.Err() != nil {
		err = &ShutdownError{Reset: n, Cause: context.Cause(ctx)}
	}
	_ = s.Close() // never fails
	return err
}
