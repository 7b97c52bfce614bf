package tcp

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// What a flusher is asked to look at.
const (
	postFlush   uint32 = 1 << iota // bytes wait in the write buffer
	postDiscard                    // input came after CloseRead
	postHangUp                     // the endpoint finished or failed
)

// noted is a stream's part of the lists that flushers and the closer keep.
type noted struct {
	bits atomic.Uint32 // what was posted; not zero while a flusher has the stream
	live atomic.Bool   // the first event is over
	next *Stream       // in the flusher's list; under its mu

	poked   atomic.Bool // in the closer's ready list
	closing bool        // in the closer's keeping; under its mu
	since   time.Time   // since when; under the closer's mu
}

// post asks the stream's flusher to look at it, at most once at a time. It takes
// one leaf lock and may run under locks of the engine.
func (s *Stream) post(bits uint32) {
	if s.note.bits.Load()&bits == bits || s.note.bits.Or(bits) != 0 {
		return
	}
	s.env.Flushers.of(s).push(s)
}

// Flushers send what small Writes left in the write buffers, and do whatever else
// the engine's callbacks must leave to a goroutine. There is one per processor,
// and a stream always has the same one.
//
// A flusher that sent what it finds at once would undo the collecting. So it
// leaves a stream alone while its writer is at work: it looks again, first after
// letting other goroutines run, then by a timer, and sends when there was no Write
// for quiet; from a writer that never pauses it takes whole segments every hold.
type Flushers struct {
	all  []flusher
	bufs sync.Pool // write buffers: *[]byte
}

const (
	// quiet is how long after its last small Write a writer counts as paused:
	// a Write after it is sent by its caller, and what waits is sent by the
	// flusher. Shorter than a round trip over any real link, far longer than a
	// loop needs from one Write to the next.
	quiet = 20 * time.Microsecond
	// hold bounds how long a busy writer's bytes wait for a whole segment, and
	// twice hold how long they wait at all.
	hold = 100 * time.Microsecond
	// spins is how often a flusher yields before it takes to its timer: about
	// as long as quiet, which spares the timer's far coarser grain.
	spins = 64
)

// NewFlushers returns n flushers, or one per processor if n is not positive. They
// do nothing until Run.
func NewFlushers(n int) *Flushers {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	f := &Flushers{all: make([]flusher, n)}
	for i := range f.all {
		f.all[i].wake = make(chan struct{}, 1)
	}
	return f
}

// Run runs the flushers until ctx ends, and returns when all have ended.
func (f *Flushers) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for i := range f.all {
		wg.Go(func() { f.all[i].run(ctx) }) // one flusher; Run waits for it
	}
	wg.Wait()
	return nil
}

// FlusherStats counts the work of flushers.
type FlusherStats struct {
	Notes   uint64 // times a stream was put on a flusher's list
	Looks   uint64 // times a flusher looked at a stream
	Flushes uint64 // times it sent from a write buffer
}

// Stats returns the sums over all flushers.
func (f *Flushers) Stats() FlusherStats {
	var st FlusherStats
	for i := range f.all {
		fl := &f.all[i]
		st.Notes += fl.notes.Load()
		st.Looks += fl.looks.Load()
		st.Flushes += fl.flushes.Load()
	}
	return st
}

// of returns the flusher of s. IDs are consecutive: they spread by themselves.
func (f *Flushers) of(s *Stream) *flusher {
	return &f.all[uint64(s.id)%uint64(len(f.all))]
}

// buffer returns a pooled write buffer of size bytes.
func (f *Flushers) buffer(size int) *[]byte {
	if b, ok := f.bufs.Get().(*[]byte); ok && len(*b) == size {
		return b
	}
	b := make([]byte, size)
	return &b
}

// flusher is one of them.
type flusher struct {
	wake chan struct{} // holds one wake-up

	notes, looks, flushes atomic.Uint64

	// mu guards the list of posted streams. A stream is in it at most once, so
	// it is bounded by the number of streams.
	mu         sync.Mutex
	head, tail *Stream

	_ [64]byte // the next one's lock lives on another cache line
}

func (f *flusher) push(s *Stream) {
	f.notes.Add(1)
	f.mu.Lock()
	first := f.head == nil
	if first {
		f.head = s
	} else {
		f.tail.note.next = s
	}
	f.tail = s
	f.mu.Unlock()
	if first {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// take appends the posted streams to active.
func (f *flusher) take(active []*Stream) []*Stream {
	f.mu.Lock()
	s := f.head
	f.head, f.tail = nil, nil
	f.mu.Unlock()
	for s != nil {
		next := s.note.next
		s.note.next = nil
		active = append(active, s)
		s = next
	}
	return active
}

// run serves posted streams until ctx ends.
func (f *flusher) run(ctx context.Context) {
	var active []*Stream // those whose writer is at work
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	yields := 0
	for {
		if len(active) == 0 {
			yields = 0
		}
		active = f.take(active)
		kept := active[:0]
		if len(active) > 0 {
			now := nanotime()
			f.looks.Add(uint64(len(active)))
			for _, s := range active {
				if s.serve(f, now) {
					kept = append(kept, s)
				}
			}
		}
		clear(active[len(kept):])
		active = kept
		switch {
		case len(active) == 0:
			select {
			case <-f.wake:
			case <-ctx.Done():
				return
			}
		case yields < spins:
			yields++
			runtime.Gosched()
		default:
			timer.Reset(hold)
			select {
			case <-f.wake:
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// serve does what was posted for s, and reports whether it is to be looked at
// again. It never waits.
func (s *Stream) serve(f *flusher, now int64) (again bool) {
	bits := s.note.bits.Load()
	done := bits & (postDiscard | postHangUp)
	due, whole := false, false
	if bits&postFlush != 0 {
		if due, whole = s.wb.due(&s.mu, now); due && !whole {
			done |= postFlush
		}
	}
	// Clear first and work then, so that what comes meanwhile is posted anew. A
	// stream whose bits are all clear has left the flusher's hands.
	left := s.note.bits.And(^done) &^ done
	ep := s.ep.Load()
	if due && s.tryFlush(ep, whole) {
		f.flushes.Add(1)
	}
	if done&postDiscard != 0 && ep != nil {
		s.discard(ep)
	}
	if done&postHangUp != 0 {
		s.hungUp()
	}
	return left != 0
}

// epoch is where nanotime begins.
var epoch = time.Now()

// nanotime is the monotonic time in nanoseconds, from an arbitrary beginning.
func nanotime() int64 { return int64(time.Since(epoch)) }
