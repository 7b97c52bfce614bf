package link

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"l3extract/internal/drop"
	"l3extract/l3conn"
)

// Output is what packages that build packets themselves see of a Link. Neither
// method waits; b is the caller's again on return, and false means that the
// packet was dropped and counted.
type Output interface {
	WriteControl(b []byte) bool  // RST, ICMP, echo
	WriteDatagram(b []byte) bool // UDP
}

// Config says what a Link works on.
type Config struct {
	Conn    l3conn.Conn
	MTU     int // largest packet, in bytes
	Drops   *drop.Counters
	Granted func() int64 // bytes that all send buffers hold together
	// Buffer gives memory of l3conn.MaxSegment bytes to read a segment into; nil: the
	// Link's own, which nobody can keep.
	Buffer func() Buffer
}

// Buffer is memory that whoever is given a packet in it may keep.
type Buffer interface{ Bytes() []byte }

// Link is a packet conn with its transmit queue. Its methods may be called at
// once by anyone, but for Read, Write, Stop, Unblock and Release, which belong to
// whoever runs the stack.
type Link struct {
	cfg   Config
	caps  l3conn.Caps
	pools *pools
	queue *queue
	// segments: the conn takes TCP segments whole.
	segments bool

	// What was read is counted by one goroutine and what was written by another, so
	// they lie on cache lines of their own.
	in, inBytes   atomic.Uint64
	_             [64]byte
	out, outBytes atomic.Uint64
	_             [64]byte

	broken  chan struct{} // closed when the conn has failed
	once    sync.Once
	err     error         // why; set before broken is closed
	stopped chan struct{} // closed by Stop
	stop    sync.Once
	// direct is held shared over each write in place, and by Stop for a moment:
	// later none is made.
	direct sync.RWMutex
}

// New returns a Link that has not touched conn yet.
func New(cfg Config) *Link {
	l := &Link{
		cfg: cfg, caps: l3conn.Probe(cfg.Conn),
		queue:  newQueue(cfg.Drops, cfg.Granted),
		broken: make(chan struct{}), stopped: make(chan struct{}),
	}
	l.segments = l.takesSegments()
	l.pools = newPools(cfg.MTU)
	return l
}

// MTU returns the size of the largest packet.
func (l *Link) MTU() int { return l.cfg.MTU }

// Counts returns the packets and bytes read from and written to the conn.
func (l *Link) Counts() (in, inBytes, out, outBytes uint64) {
	return l.in.Load(), l.inBytes.Load(), l.out.Load(), l.outBytes.Load()
}

// Congested reports whether streams should wait, and the channel that is closed
// once they may go on.
func (l *Link) Congested() (<-chan struct{}, bool) { return l.queue.congested() }

// Frame returns memory for a packet of n bytes.
func (l *Link) Frame(n int) *Frame { return l.pools.get(n) }

// Send writes f in place or queues it; f is the Link's from now on. It never
// waits. false means that f was dropped and counted.
func (l *Link) Send(f *Frame, c Class) bool {
	if !l.caps.Direct {
		return l.queue.push(f, c)
	}
	defer f.free()
	l.direct.RLock()
	defer l.direct.RUnlock()
	if l.isStopped() {
		l.cfg.Drops.Add(drop.Closed)
		return false
	}
	_, err := l.cfg.Conn.Write(f.packet())
	return l.written(f.n, err)
}

// written counts one packet and judges the error of its write.
func (l *Link) written(n int, err error) bool { return l.writtenRun(&l3conn.Segment{}, n, err) }

// writtenRun counts a segment of n bytes and judges the error of its write. A TCP
// segment that is lost is one drop: the engine sends it again.
func (l *Link) writtenRun(seg *l3conn.Segment, n int, err error) bool {
	lost := uint64(1)
	if seg.Kind == l3conn.SegmentUDP {
		lost = packets(seg, n)
	}
	switch {
	case err == nil:
		l.wrote(1, n)
		return true
	case errors.Is(err, syscall.EMSGSIZE):
		l.cfg.Drops.AddN(drop.ConnTooLarge, lost)
	case l3conn.Transient(err):
		l.cfg.Drops.AddN(drop.ConnNoBuffers, lost)
	default:
		l.cfg.Drops.AddN(drop.Closed, lost)
		l.fail(fmt.Errorf("write packet: %w", err))
	}
	return false
}

// wrote counts packets, or segments, that the conn has taken.
func (l *Link) wrote(packets, bytes int) {
	l.out.Add(uint64(packets))
	l.outBytes.Add(uint64(bytes))
}

// WriteControl implements Output.
func (l *Link) WriteControl(b []byte) bool { return l.copy(b, Control) }

// WriteDatagram implements Output.
func (l *Link) WriteDatagram(b []byte) bool { return l.copy(b, Datagram) }

func (l *Link) copy(b []byte, c Class) bool {
	if len(b) == 0 {
		return true
	}
	f := l.pools.get(len(b))
	f.n = copy(f.b, b)
	return l.Send(f, c)
}

// fail keeps the first error of the conn and tells Run.
func (l *Link) fail(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.broken)
	})
}

// Broken is closed when the conn has failed; Err then says why.
func (l *Link) Broken() <-chan struct{} { return l.broken }

// Err returns the conn's failure, nil while Broken is open.
func (l *Link) Err() error {
	select {
	case <-l.broken:
		return l.err
	default:
		return nil
	}
}

// Stop puts the queue in drop mode: the writer writes what waits and ends. When it
// returns nothing is written in place any more.
func (l *Link) Stop() {
	l.queue.close()
	l.stop.Do(func() { close(l.stopped) })
	l.direct.Lock() // until the last write in place, which does not wait
	//lint:ignore SA2001 nothing is to be done under it
	l.direct.Unlock()
}

// Unblock ends a Read of the conn that waits now and, if writing says that there
// is one, a Write: by deadlines if the conn has them, else by its Close. A conn
// that has neither keeps its caller: readLeft and writeLeft say so.
func (l *Link) Unblock(writing bool) (readLeft, writeLeft bool) {
	past := time.Unix(1, 0)
	readLeft = l.caps.ReadDeadliner == nil || l.caps.ReadDeadliner.SetReadDeadline(past) != nil
	writeLeft = writing && (l.caps.WriteDeadliner == nil || l.caps.WriteDeadliner.SetWriteDeadline(past) != nil)
	if (readLeft || writeLeft) && l.caps.Closer != nil {
		_ = l.caps.Closer.Close() // its error has nobody to go to: Run reports the cause of the end
		return false, false
	}
	return readLeft, writeLeft
}

// Release gives the conn back to its owner: the deadlines that Unblock may have
// set are lifted. No Read or Write may be under way.
func (l *Link) Release() {
	if l.caps.ReadDeadliner != nil {
		_ = l.caps.ReadDeadliner.SetReadDeadline(time.Time{}) // closed conns may refuse
	}
	if l.caps.WriteDeadliner != nil && !l.caps.Direct {
		_ = l.caps.WriteDeadliner.SetWriteDeadline(time.Time{})
	}
}

// maxRead is the longest packet that is read: a peer's may be larger than our MTU.
const maxRead = 1<<16 - 1

// Packet is one packet from the conn, or a run of UDP datagrams behind one header.
type Packet struct {
	Data []byte
	// Verified: the checksum of the transport is known to be right, or is not there
	// because the packet has not left its host.
	Verified bool
	// Datagram is the payload of each datagram of a run, in bytes; 0 is no run.
	Datagram int
	// Buffer is the memory that Data begins, if that can be kept. Who keeps it sets
	// it to nil.
	Buffer Buffer
}

// Read reads the conn until it fails or Stop was called and Unblock ended the
// last Read. It gives the packets to deliver in batches, several when they come
// faster than they are delivered, one when they do not; deliver must not wait, nor
// keep them but for their Buffers.
func (l *Link) Read(deliver func(pkts []Packet)) {
	if o := l.caps.Offloader; o != nil {
		read, _ := o.Offload()
		if read.Has(l3conn.OffloadChecksum) && o.EnableOffload(read) == nil {
			l.readSegments(o, deliver)
			_ = o.EnableOffload(0) // a conn that lives on reads packets again
			return
		}
	}
	if l.caps.BatchReader != nil && l.caps.BatchReader.BatchSize() > 1 {
		l.readBatches(l.caps.BatchReader, deliver)
		return
	}
	l.readPlain(deliver)
}

func (l *Link) isStopped() bool {
	select {
	case <-l.stopped:
		return true
	default:
		return false
	}
}

// maxIdleReads is how many Reads in a row may bring nothing, as the contract of
// l3conn says: more is a conn that spins.
const maxIdleReads = 100

// outcome judges what a Read gave: n packets and err. idle counts the Reads in a
// row that brought nothing. An error that is not nil is the end of the conn.
func (l *Link) outcome(idle *int, n int, err error) error {
	switch {
	case err != nil && !l3conn.Transient(err):
		return err
	case errors.Is(err, io.ErrShortBuffer):
		l.cfg.Drops.Add(drop.ConnShortBuffer)
		*idle = 0
	case n > 0:
		*idle = 0
	default:
		if *idle++; *idle >= maxIdleReads {
			return errors.Join(io.ErrNoProgress, err)
		}
	}
	return nil
}

// failRead tells Run of the end of the conn, unless Run itself ended the Read.
func (l *Link) failRead(err error) {
	if err != nil && !l.isStopped() {
		l.fail(fmt.Errorf("read packet: %w", err))
	}
}
