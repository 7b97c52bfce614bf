package link

import (
	"sync"
	"sync/atomic"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

const (
	// ringPackets is how many packets wait between the goroutine that reads a plain
	// conn and the one that delivers them. When the ring is full the conn is not
	// read, which is what a slow peer should feel; 128 are nearly three segments of
	// 64 KiB, so that one fills while one is delivered.
	ringPackets = 128
	// ringBytes is room for ringPackets of 1500 bytes, for one Read of unknown length
	// in front of them, and for what is left over at the end of the memory.
	ringBytes = ringPackets*1536 + 2*maxRead
)

// ring makes batches of the packets of a conn that gives one per call: while one
// batch is delivered, the next one fills. The conn reads into its memory, where the
// packets stay until they were delivered. It is for one reader and one taker, who
// share no lock, because two processors that pass one to and fro for every packet
// take longer for it than for the packet.
type ring struct {
	mem   []byte
	slots [ringPackets]struct{ at, n int }

	// The reader's.
	next int // where in mem the next packet goes
	_    [64]byte
	tail atomic.Uint64 // packets put, ever
	_    [64]byte
	head atomic.Uint64 // packets released, ever
	_    [64]byte
	// The taker's.
	taken uint64 // packets taken, ever

	ended  atomic.Bool // nothing is put any more
	dumped atomic.Bool // nothing is taken any more
	more   parking     // of the taker
	room   parking     // of the reader
}

func newRing() *ring {
	return &ring{mem: make([]byte, ringBytes), more: newParking(), room: newParking()}
}

// parking is where one goroutine waits for what another one does.
type parking struct {
	waits atomic.Bool
	token chan struct{}
}

func newParking() parking { return parking{token: make(chan struct{}, 1)} }

// wait waits for a wake unless it finds ready true.
func (p *parking) wait(ready func() bool) {
	p.waits.Store(true)
	if ready() && p.waits.CompareAndSwap(true, false) {
		return
	}
	<-p.token // if ready it is on its way
}

// wake wakes who waits; what it waits for was done before.
func (p *parking) wake() {
	if p.waits.Load() && p.waits.CompareAndSwap(true, false) {
		p.token <- struct{}{} // has room: who waits takes it before it waits again
	}
}

// space returns memory for a packet of up to maxRead bytes and waits while there is
// none; nil says that nobody takes any more.
func (r *ring) space() []byte {
	for !r.dumped.Load() {
		if at, ok := r.fit(); ok {
			r.next = at
			return r.mem[at : at+maxRead : at+maxRead]
		}
		r.room.wait(func() bool {
			_, ok := r.fit()
			return ok || r.dumped.Load()
		})
	}
	return nil
}

// fit finds maxRead bytes that hold no packet.
func (r *ring) fit() (at int, ok bool) {
	head, tail := r.head.Load(), r.tail.Load()
	if head == tail {
		return 0, true // begin anew: little traffic touches little memory
	}
	if tail-head == ringPackets {
		return 0, false
	}
	oldest := r.slots[head%ringPackets].at
	if r.next <= oldest { // the packets go around the end
		return r.next, oldest-r.next >= maxRead
	}
	if len(r.mem)-r.next >= maxRead {
		return r.next, true
	}
	return 0, oldest >= maxRead
}

// put adds the packet of n bytes that was read into what space returned.
func (r *ring) put(n int) {
	tail := r.tail.Load()
	s := &r.slots[tail%ringPackets]
	s.at, s.n = r.next, n
	r.next += n
	r.tail.Store(tail + 1)
	r.more.wake()
}

// take waits for packets and appends all to pkts; none says that the reader has
// ended. They are valid until release.
func (r *ring) take(pkts []Packet) []Packet {
	ready := func() bool { return r.tail.Load() != r.taken || r.ended.Load() }
	for !ready() {
		r.more.wait(ready)
	}
	for tail := r.tail.Load(); r.taken != tail; r.taken++ {
		s := r.slots[r.taken%ringPackets]
		pkts = append(pkts, Packet{Data: r.mem[s.at : s.at+s.n : s.at+s.n]})
	}
	return pkts
}

// release gives the memory of what was taken to the reader.
func (r *ring) release() {
	r.head.Store(r.taken)
	r.room.wake()
}

// end says that the reader will add nothing more.
func (r *ring) end() {
	r.ended.Store(true)
	r.more.wake()
}

// dump says that nothing will be taken any more.
func (r *ring) dump() {
	r.dumped.Store(true)
	r.room.wake()
}

// readPlain reads a conn that gives one packet per call.
func (l *Link) readPlain(deliver func([]Packet)) {
	r := newRing()
	var failed error // of the reader; read after the ring has ended
	var reader sync.WaitGroup
	reader.Go(func() { // fills the ring; awaited below
		defer r.end()
		for idle := 0; failed == nil; {
			buf := r.space()
			if buf == nil {
				return
			}
			n, err := l.cfg.Conn.Read(buf)
			if l.isStopped() {
				return
			}
			if n > 0 {
				r.put(n)
			}
			failed = l.outcome(&idle, n, err)
		}
	})
	defer reader.Wait()
	pkts := make([]Packet, 0, ringPackets)
	for {
		pkts = r.take(pkts[:0])
		if len(pkts) == 0 { // what came before the failure has been delivered
			l.failRead(failed)
			return
		}
		if l.isStopped() {
			r.dump()
			return
		}
		l.received(pkts, deliver)
		r.release()
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
