package pcap

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"l3extract/l3conn"
)

// Tee is a conn whose packets are also written to a file. Its Read and Write,
// and what l3conn.Probe finds, are exactly those of the conn it wraps, with the
// same rules for who may call them at once. Stop and Stats may be called from
// anywhere.
type Tee struct {
	caps l3conn.Caps
	file *recorder
	self l3conn.Caps
}

// New returns conn with its packets recorded to w, and starts the goroutine
// that writes, which ends with Stop or with the Close that l3conn.Probe finds
// on the Tee. w is called by one goroutine at a time and not closed.
func New(conn l3conn.Conn, w io.Writer, c *Config) (*Tee, error) {
	cfg, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return newTee(conn, w, nil, cfg), nil
}

// Create is New with a file of that name, which is created or emptied, readable
// by its owner only, and closed by Stop.
func Create(conn l3conn.Conn, name string, c *Config) (*Tee, error) {
	cfg, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("pcap: %w", err)
	}
	if err := private(f); err != nil {
		return nil, fmt.Errorf("pcap: %w", errors.Join(err, f.Close()))
	}
	return newTee(conn, f, f, cfg), nil
}

// private takes the rights of others from a file that existed before. Pipes and
// terminals keep theirs.
func private(f *os.File) error {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() == 0o600 {
		return err
	}
	return f.Chmod(0o600)
}

func newTee(conn l3conn.Conn, w io.Writer, f *os.File, cfg Config) *Tee {
	t := &Tee{caps: l3conn.Probe(conn), file: newRecorder(w, f, cfg)}
	t.self = t.caps.Control()
	t.self.Direct = t.caps.Direct
	if t.caps.BatchReader != nil {
		t.self.BatchReader = batchReader{t.caps.BatchReader, t.file}
	}
	if t.caps.BatchWriter != nil {
		t.self.BatchWriter = batchWriter{t.caps.BatchWriter, t.file}
	}
	if t.caps.Offloader != nil {
		t.self.Offloader = offloader{t.caps.Offloader, t.file}
	}
	if t.caps.Closer != nil {
		t.self.Closer = closer{t}
	}
	return t
}

// Read reads from the conn and records.
func (t *Tee) Read(b []byte) (int, error) {
	n, err := t.caps.Conn.Read(b)
	if n > 0 {
		t.file.record(b[:n])
	}
	return n, err
}

// Write records and writes to the conn.
func (t *Tee) Write(p []byte) (int, error) {
	if len(p) > 0 {
		t.file.record(p)
	}
	return t.caps.Conn.Write(p)
}

// Caps implements l3conn.Capper.
func (t *Tee) Caps() l3conn.Caps { return t.self }

// Stop ends the capture once everything recorded so far is written, and returns
// the error that ended it earlier, if one did; it waits for the file's Write. The
// conn goes on without it. Stop may be called again and returns the same.
func (t *Tee) Stop() error { return t.file.stop() }

// Stats are a Tee's counters since New.
type Stats struct {
	// Packets and Bytes were written to the file, headers included.
	Packets, Bytes uint64
	// Overflow counts packets dropped because the buffer was full.
	Overflow uint64
	// Lost counts packets recorded or seen in vain since the file failed.
	Lost uint64
	// Errors is 1 once the file has failed.
	Errors uint64
}

// Stats returns the counters.
func (t *Tee) Stats() Stats {
	c := &t.file.counts
	return Stats{
		c.packets.Load(), c.bytes.Load(), c.overflow.Load(), c.lost.Load(), c.errors.Load(),
	}
}

type counts struct {
	packets, bytes, overflow, lost, errors atomic.Uint64
}

type batchReader struct {
	l3conn.BatchReader
	file *recorder
}

func (r batchReader) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	n, err := r.BatchReader.ReadBatch(bufs, sizes)
	for i := range n {
		if sizes[i] > 0 {
			r.file.record(bufs[i][:sizes[i]])
		}
	}
	return n, err
}

type batchWriter struct {
	l3conn.BatchWriter
	file *recorder
}

func (w batchWriter) WriteBatch(pkts [][]byte) (int, error) {
	for _, p := range pkts {
		if len(p) > 0 {
			w.file.record(p)
		}
	}
	return w.BatchWriter.WriteBatch(pkts)
}

// offloader records segments as they are: larger than the MTU, and written ones
// without their checksum, as tcpdump shows them on the sending host.
type offloader struct {
	l3conn.Offloader
	file *recorder
}

func (o offloader) ReadSegments(segs []l3conn.Segment) (int, error) {
	n, err := o.Offloader.ReadSegments(segs)
	for i := range n {
		if segs[i].Size > 0 {
			o.file.recordParts(segs[i].Parts, segs[i].Size)
		}
	}
	return n, err
}

func (o offloader) WriteSegments(segs []l3conn.Segment) (int, error) {
	for i := range segs {
		size := 0
		for _, p := range segs[i].Parts {
			size += len(p)
		}
		if size > 0 {
			o.file.recordParts(segs[i].Parts, size)
		}
	}
	return o.Offloader.WriteSegments(segs)
}

// closer ends the conn first: its Close is what others wait for.
type closer struct{ t *Tee }

func (c closer) Close() error {
	err := c.t.caps.Closer.Close()
	_ = c.t.Stop() // OnError and Stop tell; Close is the conn's
	return err
}
