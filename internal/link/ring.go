package link

import (
	"sync"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

// ringPackets is how many packets wait between the goroutine that reads a plain
// conn and the one that delivers them. When it is full the conn is not read,
// which is what a slow peer should feel; 128 are two segments of 64 KiB.
const ringPackets = 128

// ring makes batches of the packets of a conn that gives one per call: while one
// batch is delivered, the next one fills.
type ring struct {
	mu     sync.Mutex
	more   sync.Cond // frames were added, or the reader ended
	room   sync.Cond // frames were taken
	frames []*Frame
	ended  bool // nothing is added any more
	dumped bool // what is added is thrown away
}

func newRing() *ring {
	r := new(ring)
	r.more.L, r.room.L = &r.mu, &r.mu
	return r
}

// put adds f and waits while the ring is full.
func (r *ring) put(f *Frame) {
	r.mu.Lock()
	for len(r.frames) >= ringPackets && !r.dumped {
		r.room.Wait()
	}
	if r.dumped {
		f.free()
	} else {
		r.frames = append(r.frames, f)
		if len(r.frames) == 1 {
			r.more.Signal()
		}
	}
	r.mu.Unlock()
}

// take waits for frames and takes all, in exchange for the empty slice spare;
// none says that the reader has ended.
func (r *ring) take(spare []*Frame) []*Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.frames) == 0 && !r.ended {
		r.more.Wait()
	}
	got := r.frames
	r.frames = spare[:0]
	r.room.Signal()
	return got
}

// end says that the reader will add nothing more.
func (r *ring) end() {
	r.mu.Lock()
	r.ended = true
	r.more.Broadcast()
	r.mu.Unlock()
}

// dump throws away what is in the ring and what still comes.
func (r *ring) dump() {
	r.mu.Lock()
	r.dumped = true
	for _, f := range r.frames {
		f.free()
	}
	r.frames = nil
	r.room.Broadcast()
	r.mu.Unlock()
}

// readPlain reads a conn that gives one packet per call.
func (l *Link) readPlain(deliver func([]Packet)) {
	r := newRing()
	var failed error // of the reader; read after the ring has ended
	var reader sync.WaitGroup
	reader.Go(func() { // fills the ring; awaited below
		defer r.end()
		buf := make([]byte, maxRead)
		for idle := 0; failed == nil; {
			n, err := l.cfg.Conn.Read(buf)
			if l.isStopped() {
				return
			}
			if n > 0 {
				f := l.pools.get(n)
				copy(f.b, buf[:n])
				r.put(f)
			}
			failed = l.outcome(&idle, n, err)
		}
	})
	defer reader.Wait()
	var spare []*Frame
	pkts := make([]Packet, 0, ringPackets)
	for {
		frames := r.take(spare)
		if len(frames) == 0 { // what came before the failure has been delivered
			l.failRead(failed)
			return
		}
		if l.isStopped() {
			r.dump()
			return
		}
		for _, f := range frames {
			pkts = append(pkts, Packet{Data: f.packet()})
		}
		l.received(pkts, deliver)
		for i, f := range frames {
			f.free()
			frames[i] = nil
		}
		clear(pkts)
		pkts = pkts[:0]
		spare = frames
	}
}

// readBatches reads a conn that gives several packets per call.
func (l *Link) readBatches(r l3conn.BatchReader, deliver func([]Packet)) {
	batch := r.BatchSize()
	size := maxRead
	if mtu := l.caps.MTU(); mtu > 0 {
		size = max(l.cfg.MTU, mtu, 2048)
	}
	bufs, pkts, sizes := make([][]byte, batch), make([]Packet, 0, batch), make([]int, batch)
	memory := make([]byte, batch*size)
	for i := range bufs {
		bufs[i] = memory[i*size : (i+1)*size : (i+1)*size]
	}
	for idle := 0; ; {
		n, err := r.ReadBatch(bufs, sizes)
		if l.isStopped() {
			return
		}
		pkts = pkts[:0]
		for i := range n {
			if sizes[i] > 0 {
				pkts = append(pkts, Packet{Data: bufs[i][:sizes[i]]})
			} else {
				l.cfg.Drops.Add(drop.ConnShortBuffer)
			}
		}
		l.received(pkts, deliver)
		if failed := l.outcome(&idle, n, err); failed != nil {
			l.failRead(failed)
			return
		}
	}
}

// received counts pkts and delivers them.
func (l *Link) received(pkts []Packet, deliver func([]Packet)) {
	if len(pkts) == 0 {
		return
	}
	n := 0
	for _, p := range pkts {
		n += len(p.Data)
	}
	l.in.Add(uint64(len(pkts)))
	l.inBytes.Add(uint64(n))
	deliver(pkts)
}
