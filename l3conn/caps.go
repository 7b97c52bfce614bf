package l3conn

import "io"

// Caps is what a conn can do. The fields are nil for what it lacks; Reader and
// Writer give the batch form in any case. A Caps is a value and never changes.
type Caps struct {
	// Conn is the conn that was probed.
	Conn Conn

	// Data paths.
	BatchReader BatchReader
	BatchWriter BatchWriter
	Offloader   Offloader
	// Direct: the conn is a [DirectWriter].
	Direct bool

	// Control.
	MTUer          MTUer
	ReadDeadliner  ReadDeadliner
	WriteDeadliner WriteDeadliner
	Closer         io.Closer
}

// Capper is implemented by middlewares, and by conns that learn only at run
// time what they can do. Probe believes it instead of asserting types.
//
// A middleware starts from [Caps.Control] of the conn it wraps and adds each
// data path that it wraps itself. A data path that it does not know must stay
// out, or packets would pass it by.
type Capper interface {
	Caps() Caps
}

// Probe returns what conn can do. It is cheap but meant for constructors: ask
// once and keep the answer.
func Probe(conn Conn) Caps {
	if c, ok := conn.(Capper); ok {
		caps := c.Caps()
		caps.Conn = conn
		return caps
	}
	caps := Caps{Conn: conn}
	caps.BatchReader, _ = conn.(BatchReader)
	caps.BatchWriter, _ = conn.(BatchWriter)
	caps.Offloader, _ = conn.(Offloader)
	_, caps.Direct = conn.(DirectWriter)
	caps.MTUer, _ = conn.(MTUer)
	caps.ReadDeadliner, _ = conn.(ReadDeadliner)
	caps.WriteDeadliner, _ = conn.(WriteDeadliner)
	caps.Closer, _ = conn.(io.Closer)
	return caps
}

// Control returns c without its data paths: what a middleware may hand on
// unseen.
func (c Caps) Control() Caps {
	return Caps{
		MTUer: c.MTUer, ReadDeadliner: c.ReadDeadliner,
		WriteDeadliner: c.WriteDeadliner, Closer: c.Closer,
	}
}

// MTU returns the conn's MTU in bytes, 0 if it is unknown.
func (c Caps) MTU() int {
	if c.MTUer == nil {
		return 0
	}
	return c.MTUer.MTU()
}

// Reader returns the conn's own BatchReader, or one of batch size 1 over Read.
func (c Caps) Reader() BatchReader {
	if c.BatchReader != nil {
		return c.BatchReader
	}
	return single{c.Conn}
}

// Writer returns the conn's own BatchWriter, or one that calls Write for each
// packet.
func (c Caps) Writer() BatchWriter {
	if c.BatchWriter != nil {
		return c.BatchWriter
	}
	return single{c.Conn}
}

// single is the plain path in batch form.
type single struct{ conn Conn }

func (s single) BatchSize() int { return 1 }

func (s single) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	if len(bufs) == 0 {
		return 0, nil
	}
	n, err := s.conn.Read(bufs[0])
	if n <= 0 {
		return 0, err
	}
	sizes[0] = n
	return 1, err
}

func (s single) WriteBatch(pkts [][]byte) (int, error) {
	for i, p := range pkts {
		if _, err := s.conn.Write(p); err != nil {
			return i, err
		}
	}
	return len(pkts), nil
}
