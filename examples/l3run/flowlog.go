package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"l3extract/adapters/dns"
	"l3extract/stack"
)

// flowLog writes one line for each flow that ended. The lines are written by a
// goroutine of its own, because standard error may be a pipe that nobody empties,
// and a stack must not wait for that. A line that finds the queue full is
// dropped and counted.
type flowLog struct {
	lines chan string
	lost  atomic.Uint64
	done  chan struct{} // closed when the writer has ended

	mu     sync.Mutex // guards lines against a send after close
	closed bool
}

const flowLogQueue = 4096

// newFlowLog starts the writer, which Close ends.
func newFlowLog(w io.Writer) *flowLog {
	l := &flowLog{lines: make(chan string, flowLogQueue), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for line := range l.lines {
			fmt.Fprintln(w, line)
		}
		if n := l.lost.Load(); n > 0 {
			fmt.Fprintf(w, "l3run: %d lines about flows were lost: they were not taken fast enough\n", n)
		}
	}()
	return l
}

// flow is stack.Trace's Close.
func (l *flowLog) flow(f stack.Flow) { l.line(flowLine(f)) }

// answer is dns.Config's OnAnswer.
func (l *flowLog) answer(a dns.Answer) {
	what := a.Rcode
	if len(a.Addrs) > 0 {
		what = strings.Trim(fmt.Sprint(a.Addrs), "[]")
	}
	l.line(fmt.Sprintf("l3run: dns %s %s  %s", a.Name, a.Type, what))
}

func (l *flowLog) line(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	select {
	case l.lines <- s:
	default:
		l.lost.Add(1)
	}
}

// Close returns when every line is written.
func (l *flowLog) Close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.lines)
	}
	l.mu.Unlock()
	<-l.done
}

// flowLine is what -v says: source, destination, bytes that the command sent and
// received, how long it lasted, and why it ended.
func flowLine(f stack.Flow) string {
	return fmt.Sprintf("l3run: %s %v -> %v  sent %d received %d  %v  %v",
		f.Network, f.Source, f.Destination, f.In, f.Out,
		f.Duration(time.Now()).Round(time.Microsecond*100), causeOf(f))
}

// causeOf is the name of why f ended, without what led to it.
func causeOf(f stack.Flow) error {
	if c := stack.Cause(""); errors.As(f.Cause, &c) {
		return c
	}
	return f.Cause
}
