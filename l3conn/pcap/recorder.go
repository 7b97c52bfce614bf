package pcap

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// The classic format: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/
const (
	magicMicroseconds = 0xa1b2c3d4
	magicNanoseconds  = 0xa1b23c4d
	linkTypeRaw       = 101 // LINKTYPE_RAW: IPv4 or IPv6, told by the version nibble
	fileHeaderSize    = 24
	recordHeaderSize  = 16
)

// recorder turns packets into records and writes them behind the packet path's
// back.
type recorder struct {
	w      io.Writer
	own    *os.File // w if it is ours to close
	cfg    Config
	now    func() time.Time
	counts counts

	// mu is a leaf: only memory is touched under it.
	mu      sync.Mutex
	pending []byte // records not yet written; at most cfg.Buffer bytes, more are dropped and counted
	packets uint64 // in pending
	stopped bool   // nothing more is recorded
	failed  bool

	wake chan struct{} // one note to run that pending or stopped has changed
	done chan struct{} // closed when run has ended
	err  error         // why the capture ended; read after done
}

func newRecorder(w io.Writer, own *os.File, cfg Config) *recorder {
	r := &recorder{
		w: w, own: own, cfg: cfg, now: time.Now,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	r.pending = r.appendFileHeader(nil)
	r.note()
	go r.run() // owned by the Tee, awaited by stop
	return r
}

func (r *recorder) appendFileHeader(b []byte) []byte {
	magic := uint32(magicMicroseconds)
	if r.cfg.Nanoseconds {
		magic = magicNanoseconds
	}
	b = binary.LittleEndian.AppendUint32(b, magic)
	b = binary.LittleEndian.AppendUint16(b, 2) // version 2.4
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = binary.LittleEndian.AppendUint64(b, 0) // time zone and accuracy: always 0
	b = binary.LittleEndian.AppendUint32(b, uint32(r.cfg.SnapLen))
	return binary.LittleEndian.AppendUint32(b, linkTypeRaw)
}

func (r *recorder) record(p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.beginLocked(len(p)) {
		r.pending = append(r.pending, p[:min(len(p), r.cfg.SnapLen)]...)
		r.note()
	}
}

// recordParts records the first size bytes of parts as one packet.
func (r *recorder) recordParts(parts [][]byte, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.beginLocked(size) {
		return
	}
	left := min(size, r.cfg.SnapLen)
	for _, p := range parts {
		p = p[:min(len(p), left)]
		r.pending = append(r.pending, p...)
		left -= len(p)
	}
	r.note()
}

// beginLocked appends the header of a record of size bytes if there is room for
// it all.
func (r *recorder) beginLocked(size int) bool {
	kept := min(size, r.cfg.SnapLen)
	switch {
	case r.failed:
		r.counts.lost.Add(1)
		return false
	case r.stopped:
		return false
	case len(r.pending)+recordHeaderSize+kept > r.cfg.Buffer:
		r.counts.overflow.Add(1)
		return false
	}
	now := r.now()
	fraction := now.Nanosecond()
	if !r.cfg.Nanoseconds {
		fraction /= 1000
	}
	b := binary.LittleEndian.AppendUint32(r.pending, uint32(now.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(fraction))
	b = binary.LittleEndian.AppendUint32(b, uint32(kept))
	r.pending = binary.LittleEndian.AppendUint32(b, uint32(size))
	r.packets++
	return true
}

func (r *recorder) note() {
	select {
	case r.wake <- struct{}{}:
	default: // one is waiting already
	}
}

// run writes until stop or the first error. Two buffers take turns, so that
// nothing is allocated once they have grown.
func (r *recorder) run() {
	defer close(r.done)
	var chunk []byte
	var offset int64
	for range r.wake {
		r.mu.Lock()
		chunk, r.pending = r.pending, chunk[:0]
		packets, stopped := r.packets, r.stopped
		r.packets = 0
		r.mu.Unlock()

		n, err := 0, error(nil)
		if len(chunk) > 0 {
			n, err = r.w.Write(chunk)
		}
		if err == nil && n < len(chunk) {
			err = io.ErrShortWrite
		}
		if err != nil {
			whole, bytes := wholeRecords(chunk, offset == 0, n)
			r.counts.packets.Add(whole)
			r.counts.bytes.Add(uint64(bytes))
			r.fail(err, packets-whole, offset+int64(bytes))
			return
		}
		offset += int64(n)
		r.counts.packets.Add(packets)
		r.counts.bytes.Add(uint64(n))
		if stopped {
			r.err = r.closeFile()
			return
		}
	}
}

// fail ends the capture: lost packets of the last chunk did not reach the file,
// which is cut after its last whole record, at size.
func (r *recorder) fail(err error, lost uint64, size int64) {
	r.mu.Lock()
	r.failed, r.stopped = true, true
	lost += r.packets
	r.pending, r.packets = nil, 0
	r.mu.Unlock()
	r.counts.lost.Add(lost)
	r.counts.errors.Add(1)
	if r.own != nil {
		_ = r.own.Truncate(size) // a pipe has no end to cut
		_ = r.own.Close()        // the first error is the one to tell
	}
	r.err = fmt.Errorf("pcap: capture ended: %w", err)
	if r.cfg.OnError != nil {
		r.cfg.OnError(r.err)
	}
}

func (r *recorder) closeFile() error {
	if r.own == nil {
		return nil
	}
	if err := r.own.Close(); err != nil {
		return fmt.Errorf("pcap: %w", err)
	}
	return nil
}

func (r *recorder) stop() error {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.note()
	<-r.done
	return r.err
}

// wholeRecords counts the records that lie whole within the first n bytes of
// chunk, and their bytes with the file header's.
func wholeRecords(chunk []byte, first bool, n int) (records uint64, bytes int) {
	if first {
		if n < fileHeaderSize {
			return 0, 0
		}
		bytes = fileHeaderSize
	}
	for bytes+recordHeaderSize <= n {
		end := bytes + recordHeaderSize + int(binary.LittleEndian.Uint32(chunk[bytes+8:]))
		if end > n {
			break
		}
		bytes = end
		records++
	}
	return records, bytes
}
