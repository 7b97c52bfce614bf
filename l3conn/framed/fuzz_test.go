package framed

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// reference reads a stream as the package comment says.
func reference(in []byte, f Format, lowest, highest int) (pkts [][]byte, whole, lie bool) {
	for len(in) > 0 {
		if len(in) < f.size() {
			return pkts, false, false
		}
		n := int64(f.length(in))
		in = in[f.size():]
		switch {
		case n == 0:
			continue
		case n < int64(lowest) || n > int64(highest):
			return pkts, false, true
		case n > int64(len(in)):
			return pkts, false, false
		}
		pkts = append(pkts, in[:n])
		in = in[n:]
	}
	return pkts, true, false
}

// FuzzRead reads any bytes, in pieces of any size, and finds what the reference
// does, and the same kind of end.
func FuzzRead(f *testing.F) {
	f.Add(frames(Big16, packet(1, 20), nil, packet(2, 100)), uint8(0), uint8(3), true)
	f.Add(frames(Little32, packet(1, 20), packet(2, 21))[:30], uint8(3), uint8(1), false)
	f.Add([]byte{0xff, 0xff, 0xff}, uint8(2), uint8(9), true)
	f.Fuzz(func(t *testing.T, in []byte, format, chunk uint8, batch bool) {
		cfg := Config{Format: Format(format) % formats, MTU: 200, ReadBuffer: 1}
		want, whole, lie := reference(in, cfg.Format, 20, 200)
		c, err := New(&script{in: in, chunk: int(chunk), err: io.EOF}, &cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := readAll(c, batch)
		var length *LengthError
		if (err == io.EOF) != whole || errors.As(err, &length) != lie || errors.Is(err, io.ErrUnexpectedEOF) != (!whole && !lie) {
			t.Fatalf("whole %v, lie %v: %v", whole, lie, err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d packets, want %d", len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("packet %d: %x, want %x", i, got[i], want[i])
			}
		}
	})
}

// FuzzWrite writes packets of any sizes while deadlines pass anywhere: the stream
// stays frames, and each is a packet that counted as written.
func FuzzWrite(f *testing.F) {
	f.Add([]byte{20, 0, 100, 30, 19, 255, 40}, uint8(0), uint8(33))
	f.Add([]byte{21, 22, 23}, uint8(2), uint8(0))
	f.Fuzz(func(t *testing.T, sizes []byte, format, limit uint8) {
		s := &script{limit: int(limit), writeErr: errTime{}}
		cfg := Config{Format: Format(format) % formats, MTU: 200, WriteBuffer: 1}
		c, err := New(s, &cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var pkts, want [][]byte
		for i, n := range sizes {
			pkts = append(pkts, packet(i, int(n)))
		}
		for left := pkts; len(left) > 0; {
			n, err := c.WriteBatch(left)
			for _, p := range left[:n] {
				if len(p) >= 20 {
					want = append(want, p)
				}
			}
			left = left[n:]
			if err != nil && len(left) > 0 && len(left[0]) > 200 {
				left = left[1:]
			} else if err != nil && !errors.Is(err, errTime{}.Unwrap()) {
				t.Fatal(err)
			}
		}
		s.limit = -1
		if _, err := c.Write(packet(2, 20)); err != nil {
			t.Fatal(err)
		}
		want = append(want, packet(2, 20))
		if got := s.out.Bytes(); !bytes.Equal(got, frames(cfg.Format, want...)) {
			t.Fatalf("stream %x\nwant %x", got, frames(cfg.Format, want...))
		}
	})
}
