package link

import (
	"context"
	"fmt"
	"io"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

const (
	// writeBatch is how many packets the writer hands to a conn at once: as many as
	// a vectored system call takes with few bytes of stack.
	writeBatch = 64
	// writeBytes is how much the writer takes from the queue at once. What it has
	// taken counts as queued until all of it is written, so more would make streams
	// wait, and then run, in lumps.
	writeBytes = 256 << 10
)

// Write is the writer goroutine: it ends when ctx does, when Stop was called and
// the queue is empty, or when the conn fails.
func (l *Link) Write(ctx context.Context) {
	if l.caps.Direct {
		return
	}
	w := newWriter(l)
	frames := make([]*Frame, writeBatch)
	for {
		n := l.queue.pop(frames)
		if n == 0 {
			select {
			case <-l.queue.wake:
				continue
			case <-l.stopped:
				if l.queue.empty() {
					return
				}
				continue
			case <-ctx.Done():
				return
			}
		}
		ok := w.write(frames[:n])
		l.queue.done(frames[:n])
		if !ok || ctx.Err() != nil {
			return
		}
	}
}

// writer writes frames to the conn: segments as they are, if the conn takes them,
// else cut. It cuts here and not where the engine sends, because the engine holds
// the lock of an endpoint there, and into little memory that stays in the cache.
type writer struct {
	*Link
	batch l3conn.BatchWriter // nil: one packet per call
	pkts  [][]byte           // to be written by the next call
	room  []byte             // of the packets that were cut; used up to used
	used  int
	cut   l3conn.Cutter
	segs  []l3conn.Segment // of a conn that takes segments
	one   [writeBatch][1][]byte

	packets, bytes int // written, not yet counted
}

func newWriter(l *Link) *writer {
	w := &writer{Link: l, batch: l.caps.BatchWriter}
	switch {
	case l.segments:
		w.segs = make([]l3conn.Segment, writeBatch)
	case w.batch != nil:
		w.pkts = make([][]byte, 0, writeBatch)
	}
	return w
}

// write writes frames; false says that the conn has failed.
func (w *writer) write(frames []*Frame) bool {
	ok := true
	if w.segments {
		ok = w.writeSegments(frames)
	} else {
		for _, f := range frames {
			if f.owner == nil {
				ok = w.add(f.packet())
			} else {
				ok = w.addCut(&f.seg)
			}
			if !ok {
				break
			}
		}
		ok = ok && w.flush()
		w.used = 0
	}
	w.wrote(w.packets, w.bytes)
	w.packets, w.bytes = 0, 0
	return ok
}

// add writes packet p, at the latest by the next flush.
func (w *writer) add(p []byte) bool {
	if w.batch == nil {
		_, err := w.cfg.Conn.Write(p)
		return w.outcome(&whole, len(p), err)
	}
	w.pkts = append(w.pkts, p)
	return len(w.pkts) < writeBatch || w.flush()
}

// addCut adds the packets that seg stands for.
func (w *writer) addCut(seg *l3conn.Segment) bool {
	left := seg.Len()
	if err := w.cut.Reset(seg, left); err != nil {
		w.cfg.Drops.Add(drop.TransportUndelivered) // the engine gave what cannot be
		return true
	}
	header, payload := int(seg.HeaderSize), int(seg.PayloadSize)
	if seg.Kind == l3conn.SegmentNone {
		header, payload = 0, left
	}
	for left -= header; left > 0; left -= payload {
		size := header + min(left, payload)
		if len(w.room)-w.used < size {
			if !w.flush() {
				return false
			}
			w.makeRoom(size)
		}
		n, err := w.cut.Next(w.room[w.used:])
		if err != nil {
			w.cfg.Drops.Add(drop.TransportUndelivered)
			return true
		}
		p := w.room[w.used : w.used+n : w.used+n]
		if w.batch != nil {
			w.used += n
		}
		if !w.add(p) {
			return false
		}
	}
	return true
}

// makeRoom makes room for packets of size bytes, as many as one call takes. None of
// those that were cut is still to be written.
func (w *writer) makeRoom(size int) {
	w.used = 0
	if len(w.room) >= size {
		return
	}
	n := max(size, w.cfg.MTU)
	if w.batch != nil {
		n *= writeBatch
	}
	w.room = make([]byte, n)
}

// flush writes the packets that were added.
func (w *writer) flush() bool {
	for pkts := w.pkts; len(pkts) > 0; {
		n, err := w.batch.WriteBatch(pkts)
		for _, p := range pkts[:n] {
			w.bytes += len(p)
		}
		w.packets += n
		pkts = pkts[n:]
		if err == nil {
			if n > 0 {
				continue
			}
			err = io.ErrNoProgress
		}
		size := 0
		if len(pkts) > 0 {
			size = len(pkts[0])
			pkts = pkts[1:]
		}
		if !w.outcome(&whole, size, err) {
			return false
		}
	}
	clear(w.pkts)
	w.pkts, w.used = w.pkts[:0], 0
	return true
}

// whole is a packet that is no segment.
var whole l3conn.Segment

// outcome judges the write of one packet or segment of size bytes, 0 if there was none;
// false says that the conn has failed.
func (w *writer) outcome(seg *l3conn.Segment, size int, err error) bool {
	if err == nil {
		w.packets++
		w.bytes += size
		return true
	}
	if size > 0 {
		w.writtenRun(seg, size, err)
	}
	if l3conn.Transient(err) {
		return true
	}
	w.fail(fmt.Errorf("write packet: %w", err))
	return false
}

// writeSegments is write for a conn that takes segments.
func (w *writer) writeSegments(frames []*Frame) bool {
	for i, f := range frames {
		w.segs[i] = f.seg
		if f.owner == nil {
			w.one[i][0] = f.packet()
			w.segs[i].Parts = w.one[i][:]
		}
	}
	segs := w.segs[:len(frames)]
	defer func() {
		clear(w.segs[:len(frames)])
		clear(w.one[:len(frames)])
	}()
	for len(segs) > 0 {
		n, err := w.caps.Offloader.WriteSegments(segs)
		for i := range segs[:n] {
			w.bytes += segs[i].Len()
		}
		w.packets += n
		segs = segs[n:]
		if err == nil {
			if n > 0 {
				continue
			}
			err = io.ErrNoProgress
		}
		size, seg := 0, &whole
		if len(segs) > 0 {
			size, seg = segs[0].Len(), &segs[0]
			segs = segs[1:]
		}
		if !w.outcome(seg, size, err) {
			return false
		}
	}
	return true
}
