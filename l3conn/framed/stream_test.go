package framed

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"l3extract/l3conn"
)

// script is a stream that reads what it is given, chunk bytes at a time, then ends
// with err; and writes into out until it has taken limit bytes.
type script struct {
	in    []byte
	chunk int
	err   error

	out      bytes.Buffer
	limit    int // bytes until the next Write fails; negative: none
	writeErr error
	writes   int
	closes   int
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, s.err
	}
	n := copy(b, s.in[:min(len(s.in), max(s.chunk, 1))])
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error) {
	s.writes++
	if s.limit < 0 || len(b) <= s.limit {
		s.out.Write(b)
		if s.limit >= 0 {
			s.limit -= len(b)
		}
		return len(b), nil
	}
	n := s.limit
	s.out.Write(b[:n])
	s.limit = -1 // the next one works
	return n, s.writeErr
}

func (s *script) Close() error { s.closes++; return nil }

// frames are packets in a format.
func frames(f Format, pkts ...[]byte) []byte {
	var out []byte
	for _, p := range pkts {
		at := len(out)
		out = append(out, make([]byte, f.size())...)
		f.put(out[at:], len(p))
		out = append(out, p...)
	}
	return out
}

// readAll reads packets until an error.
func readAll(c *Conn, batch bool) (pkts [][]byte, err error) {
	bufs, sizes := make([][]byte, batchSize+1), make([]int, batchSize+1)
	for i := range bufs {
		bufs[i] = make([]byte, c.MTU())
	}
	for {
		n := 1
		if batch {
			n, err = c.ReadBatch(bufs, sizes)
		} else {
			sizes[0], err = c.Read(bufs[0])
		}
		if err != nil {
			return pkts, err
		}
		for i := range n {
			pkts = append(pkts, bytes.Clone(bufs[i][:sizes[i]]))
		}
	}
}

// TestCutAtEveryByte ends the stream after every number of bytes, and gives it in
// pieces of every size: whole frames arrive, and the end is told from a cut.
func TestCutAtEveryByte(t *testing.T) {
	pkts := [][]byte{packet(1, 20), {}, packet(2, 57), packet(3, 100), {}, packet(4, 21)}
	for format := range formats {
		whole := frames(format, pkts...)
		for chunk := 1; chunk <= len(whole); chunk++ {
			for _, batch := range []bool{true, false} {
				c := mustNew(t, &script{in: whole, chunk: chunk, err: io.EOF}, Config{Format: format})
				got, err := readAll(c, batch)
				if err != io.EOF || len(got) != 4 || !bytes.Equal(frames(format, got...), frames(format, pkts[0], pkts[2], pkts[3], pkts[5])) {
					t.Fatalf("format %d in pieces of %d: %d packets, %v", format, chunk, len(got), err)
				}
				if s := c.Stats(); s.PacketsIn != 4 || s.BytesIn != 198 || s.KeepalivesIn != 2 {
					t.Fatalf("%+v", s)
				}
			}
		}
		for cut := range whole {
			ends, want := map[int]bool{0: true}, 0 // where frames end
			for at, i := 0, 0; i < len(pkts); i++ {
				at += format.size() + len(pkts[i])
				ends[at] = true
				if at <= cut && len(pkts[i]) > 0 {
					want++
				}
			}
			c := mustNew(t, &script{in: whole[:cut], chunk: 7, err: io.EOF}, Config{Format: format})
			got, err := readAll(c, true)
			if len(got) != want || (err == io.EOF) != ends[cut] || err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("format %d cut at %d: %d packets, want %d, %v", format, cut, len(got), want, err)
			}
			if _, again := c.Read(make([]byte, 1500)); !errors.Is(again, err) {
				t.Fatalf("then %v", again)
			}
			if l3conn.Transient(err) {
				t.Fatalf("%v looks as if it passed", err)
			}
		}
	}
}

func TestLengthsThatLie(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		in   []byte
		want LengthError
	}{
		{"one byte", Config{}, []byte{0, 1, 0x45}, LengthError{1, 20, 1500, 0}},
		{"below a header", Config{}, []byte{0, 19}, LengthError{19, 20, 1500, 0}},
		{"above the MTU", Config{}, []byte{1500 >> 8, 1501 & 255}, LengthError{1501, 20, 1500, 0}},
		{"largest", Config{}, []byte{255, 255, 0x45}, LengthError{65535, 20, 1500, 0}},
		{"after a frame", Config{}, append(frames(Big16, packet(1, 40), nil), 0xff, 0xff), LengthError{65535, 20, 1500, 44}},
		{"other byte order", Config{}, frames(Little16, packet(1, 40)), LengthError{40 << 8, 20, 1500, 0}},
		{"4 GiB", Config{Format: Big32, MTU: MaxMTU}, []byte{255, 255, 255, 255}, LengthError{1<<32 - 1, 20, 65535, 0}},
		{"2 GiB", Config{Format: Little32, MTU: MaxMTU}, []byte{0, 0, 0, 128}, LengthError{1 << 31, 20, 65535, 0}},
		{"64 KiB", Config{Format: Big32, MTU: MaxMTU}, []byte{0, 1, 0, 0}, LengthError{65536, 20, 65535, 0}},
		{"no Ethernet", Config{Format: Big32, MinFrame: 14}, []byte{0, 0, 0, 13}, LengthError{13, 14, 1500, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := mustNew(t, &script{in: c.in, chunk: 1, err: io.EOF}, c.cfg)
			got, err := readAll(conn, true)
			var lie *LengthError
			var op *net.OpError
			if !errors.As(err, &lie) || *lie != c.want || !errors.As(err, &op) {
				t.Errorf("%v, want %v", err, &c.want)
			}
			if len(got) != int(c.want.Offset/44) {
				t.Errorf("%d packets", len(got))
			}
			if _, again := conn.ReadBatch([][]byte{make([]byte, 1500)}, make([]int, 1)); again != err {
				t.Errorf("then %v", again)
			}
		})
	}
}

// TestDeadlineWithinAFrame lets a Write's deadline pass after every byte: the rest
// of the frame goes first with the next Write, and what was not begun is not sent.
func TestDeadlineWithinAFrame(t *testing.T) {
	pkts := [][]byte{packet(1, 30), packet(2, 20), nil, packet(3, 41)}
	last := packet(9, 25)
	for format := range formats {
		sizes := []int{0}
		for _, p := range pkts {
			if len(p) > 0 {
				sizes = append(sizes, sizes[len(sizes)-1]+format.size()+len(p))
			}
		}
		for limit := range sizes[3] {
			s := &script{limit: limit, writeErr: &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}}
			c := mustNew(t, s, Config{Format: format, MTU: 100})
			begun := 0 // frames that were begun
			for begun < 3 && sizes[begun] < limit {
				begun++
			}
			n, err := c.WriteBatch(pkts)
			want := []int{0, 1, 2, 4}[begun]
			if begun == 2 && limit == sizes[2] {
				want = 2 // the empty one lies at the end
			}
			if n != want || (n == len(pkts)) != (err == nil) || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("format %d, %d bytes: wrote %d, %v, want %d", format, limit, n, err, want)
			}
			if n, err := c.Write(last); n != len(last) || err != nil {
				t.Fatal(n, err)
			}
			whole := [][]byte{pkts[0], pkts[1], pkts[3]}[:begun]
			if wanted := frames(format, append(whole, last)...); !bytes.Equal(s.out.Bytes(), wanted) {
				t.Fatalf("format %d, %d bytes: stream\n%x, want\n%x", format, limit, s.out.Bytes(), wanted)
			}
			if st := c.Stats(); st.PacketsOut != uint64(begun+1) {
				t.Fatalf("%d packets begun, %+v", begun, st)
			}
		}
	}
}

// TestBatchIsOneWrite: many packets, one call of the stream; one that does not fit
// the buffer begins the next.
func TestBatchIsOneWrite(t *testing.T) {
	s := &script{limit: -1}
	c := mustNew(t, s, Config{WriteBuffer: 10000})
	var pkts [][]byte
	for i := range 100 {
		pkts = append(pkts, packet(i, 100))
	}
	if n, err := c.WriteBatch(pkts[:90]); n != 90 || err != nil || s.writes != 1 {
		t.Fatalf("%d, %v, %d writes", n, err, s.writes)
	}
	if n, err := c.WriteBatch(pkts); n != 100 || err != nil || s.writes != 3 {
		t.Fatalf("%d, %v, %d writes", n, err, s.writes)
	}
	if !bytes.Equal(s.out.Bytes(), frames(Big16, append(pkts[:90:90], pkts...)...)) {
		t.Error("other bytes")
	}
	if st := c.Stats(); st.PacketsOut != 190 || st.BytesOut != 19000 || st.StreamWrites != 3 {
		t.Errorf("%+v", st)
	}
}

// TestOddPackets: none of them reaches the peer or ends the conn.
func TestOddPackets(t *testing.T) {
	s := &script{limit: -1}
	c := mustNew(t, s, Config{MTU: 100})
	good := packet(1, 100)
	for _, p := range [][]byte{nil, packet(1, 1), packet(1, 19)} {
		if n, err := c.Write(p); n != len(p) || err != nil {
			t.Errorf("%d bytes: %d, %v", len(p), n, err)
		}
	}
	if _, err := c.Write(packet(1, 101)); !errors.Is(err, l3conn.ErrTooLong) {
		t.Error(err)
	}
	if n, err := c.WriteBatch([][]byte{good, nil, packet(1, 101), good}); n != 2 || err != l3conn.ErrTooLong {
		t.Error(n, err)
	}
	if !bytes.Equal(s.out.Bytes(), frames(Big16, good)) {
		t.Errorf("%x", s.out.Bytes())
	}
	if st := c.Stats(); st.TooLong != 2 || st.Runts != 2 || st.PacketsOut != 1 {
		t.Errorf("%+v", st)
	}
}

// TestErrorsLast: what ends a stream ends the conn, once and for all, and never
// looks like something that passes.
func TestErrorsLast(t *testing.T) {
	for _, cause := range []error{io.ErrClosedPipe, l3conn.ErrDown, io.ErrShortBuffer, errors.New("wire cut")} {
		s := &script{in: frames(Big16, packet(1, 20)), chunk: 99, err: cause, limit: 5, writeErr: cause}
		c := mustNew(t, s, Config{})
		got, err := readAll(c, false)
		if len(got) != 1 || err == nil || l3conn.Transient(err) {
			t.Errorf("%v: %d packets, Read: %v", cause, len(got), err)
		}
		if _, again := c.Read(nil); again != err {
			t.Errorf("Read says first %v, then %v", err, again)
		}
		_, err = c.Write(packet(1, 20))
		if err == nil || l3conn.Transient(err) {
			t.Errorf("%v: Write: %v", cause, err)
		}
		if n, again := c.WriteBatch([][]byte{packet(1, 20)}); n != 0 || again != err || s.writes != 1 {
			t.Errorf("Write says first %v, then %v", err, again)
		}
	}
	c := mustNew(t, &script{err: nil}, Config{}) // a stream that spins
	if _, err := c.Read(make([]byte, 100)); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
	c = mustNew(t, &script{limit: 3}, Config{}) // one that swallows
	if _, err := c.Write(packet(1, 20)); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

func TestCloseOnce(t *testing.T) {
	s := &script{err: io.EOF, limit: -1}
	c := mustNew(t, s, Config{})
	for range 3 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if s.closes != 1 {
		t.Errorf("closed %d times", s.closes)
	}
	if _, err := c.Read(nil); !errors.Is(err, net.ErrClosed) {
		t.Error("Read:", err)
	}
	if _, err := c.Write(packet(1, 20)); !errors.Is(err, net.ErrClosed) {
		t.Error("Write:", err)
	}
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []struct {
		field string
		cfg   Config
	}{
		{"Format", Config{Format: 4}},
		{"MTU", Config{MTU: 65536}},
		{"MTU", Config{MTU: -1}},
		{"MinFrame", Config{MinFrame: 1501}},
		{"MinFrame", Config{MinFrame: -1}},
		{"Keepalive", Config{Keepalive: -1}},
		{"ReadBuffer", Config{ReadBuffer: -1}},
		{"WriteBuffer", Config{WriteBuffer: 1 << 30}},
	} {
		if _, err := New(&script{}, &c.cfg); err == nil || !bytes.Contains([]byte(err.Error()), []byte("Config."+c.field)) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

// TestNoAllocations: moving packets allocates nothing.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := &script{limit: -1}
	c := mustNew(t, s, Config{})
	pkts := [][]byte{packet(1, 1000), packet(2, 1400)}
	bufs, sizes := [][]byte{make([]byte, 1500), make([]byte, 1500)}, make([]int, 2)
	in := frames(Big16, pkts...)
	if n := testing.AllocsPerRun(100, func() {
		s.out.Reset()
		if n, err := c.WriteBatch(pkts); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		s.in, s.chunk = in, len(in)
		if n, err := c.ReadBatch(bufs, sizes); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// errTime is a deadline that has passed.
type errTime struct{}

func (errTime) Error() string { return "deadline" }
func (errTime) Unwrap() error { return os.ErrDeadlineExceeded }
