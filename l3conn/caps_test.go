package l3conn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"syscall"
	"testing"
)

// plain has nothing but Read and Write.
type plain struct{ conn Conn }

func (p plain) Read(b []byte) (int, error)  { return p.conn.Read(b) }
func (p plain) Write(b []byte) (int, error) { return p.conn.Write(b) }

type direct struct{ plain }

func (direct) DirectWrite() {}

type offload struct{ plain }

func (offload) Offload() (read, write Features)           { return 0, 0 }
func (offload) EnableOffload(Features) error              { return nil }
func (offload) SegmentBatch() int                         { return 1 }
func (offload) ReadSegments(segs []Segment) (int, error)  { return 0, nil }
func (offload) WriteSegments(segs []Segment) (int, error) { return 0, nil }

// middleware claims everything by its methods and only Close by its Caps.
type middleware struct {
	*BatchPipeEnd
	below Conn
}

func (m middleware) Caps() Caps { return Probe(m.below).Control() }

func names(c Caps) string {
	s := ""
	for _, f := range []struct {
		has  bool
		name string
	}{
		{c.BatchReader != nil, "batchread "}, {c.BatchWriter != nil, "batchwrite "},
		{c.Offloader != nil, "offload "}, {c.Direct, "direct "}, {c.MTUer != nil, "mtu "},
		{c.ReadDeadliner != nil, "readdeadline "}, {c.WriteDeadliner != nil, "writedeadline "},
		{c.Closer != nil, "close "},
	} {
		if f.has {
			s += f.name
		}
	}
	return s
}

func TestProbe(t *testing.T) {
	p, _ := Pipe(0, 0)
	b, _ := BatchPipe(0, 0, 0)
	var file *os.File
	for _, c := range []struct {
		conn Conn
		want string
	}{
		{plain{p}, ""},
		{p, "mtu readdeadline writedeadline close "},
		{b, "batchread batchwrite mtu readdeadline writedeadline close "},
		{direct{plain{p}}, "direct "},
		{offload{plain{p}}, "offload "},
		{file, "readdeadline writedeadline close "},
		{Funcs{}, ""},
		{Funcs{CloseFunc: p.Close}, "close "},
		{middleware{b, plain{p}}, ""},
		{middleware{b, b}, "mtu readdeadline writedeadline close "},
	} {
		caps := Probe(c.conn)
		if got := names(caps); got != c.want {
			t.Errorf("%T: %s, want %s", c.conn, got, c.want)
		}
		if reflect.TypeOf(caps.Conn) != reflect.TypeOf(c.conn) {
			t.Errorf("%T: Caps holds another conn", c.conn)
		}
	}
	if got := Probe(p).MTU(); got != DefaultMTU {
		t.Errorf("MTU of a pipe: %d", got)
	}
	if got := Probe(plain{p}).MTU(); got != 0 {
		t.Errorf("unknown MTU: %d", got)
	}
}

func TestPlainFallback(t *testing.T) {
	x, y := Pipe(8, 0)
	r, w := Probe(plain{x}).Reader(), Probe(plain{y}).Writer()
	if n, err := w.WriteBatch([][]byte{{1}, {2, 2}}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := w.WriteBatch([][]byte{{1}, make([]byte, DefaultMTU+1), {3}}); n != 1 || !errors.Is(err, ErrTooLong) {
		t.Fatal(n, err)
	}
	bufs, sizes := [][]byte{make([]byte, 9), make([]byte, 9)}, make([]int, 2)
	for i := range 2 {
		if n, err := r.ReadBatch(bufs, sizes); n != 1 || err != nil || sizes[0] != i+1 {
			t.Fatal(n, err, sizes)
		}
	}
	if n, err := r.ReadBatch(nil, nil); n != 0 || err != nil {
		t.Fatal("no buffers:", n, err)
	}
	y.Close()
	if n, err := r.ReadBatch(bufs, sizes); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := r.ReadBatch(bufs, sizes); n != 0 || err != io.EOF {
		t.Fatal(n, err)
	}
	if r.BatchSize() != 1 {
		t.Fatal(r.BatchSize())
	}
	b, _ := BatchPipe(0, 0, 3)
	if c := Probe(b); c.Reader() != BatchReader(b) || c.Writer() != BatchWriter(b) {
		t.Fatal("own batches hidden")
	}
}

func TestFuncs(t *testing.T) {
	f := Funcs{}
	if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Error(n, err)
	}
	if n, err := f.Write(make([]byte, 7)); n != 7 || err != nil {
		t.Error(n, err)
	}
	closed := 0
	f = Funcs{
		ReadFunc:  func(b []byte) (int, error) { return copy(b, "ab"), nil },
		WriteFunc: func(p []byte) (int, error) { return 0, ErrNoBuffers },
		CloseFunc: func() error { closed++; return nil },
	}
	if n, err := f.Read(make([]byte, 9)); n != 2 || err != nil {
		t.Error(n, err)
	}
	if _, err := f.Write(nil); !errors.Is(err, syscall.ENOBUFS) {
		t.Error(err)
	}
	if Probe(f).Closer.Close(); closed != 1 {
		t.Error("not closed")
	}
}

func TestTransient(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
		is   error
	}{
		{ErrShortBuffer, true, io.ErrShortBuffer},
		{ErrTooLong, true, syscall.EMSGSIZE},
		{ErrNoBuffers, true, syscall.ENOBUFS},
		{ErrDown, true, syscall.ENETDOWN},
		{syscall.EAGAIN, true, nil},
		{syscall.EINTR, true, nil},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.ENOBUFS)}, true, syscall.ENOBUFS},
		{fmt.Errorf("x: %w", io.ErrShortBuffer), true, nil},
		{nil, false, nil},
		{io.EOF, false, nil},
		{io.ErrNoProgress, false, nil},
		{net.ErrClosed, false, nil},
		{os.ErrDeadlineExceeded, false, nil},
		{syscall.EBADF, false, nil},
	} {
		if got := Transient(c.err); got != c.want {
			t.Errorf("Transient(%v) = %v", c.err, got)
		}
		if c.is != nil && !errors.Is(c.err, c.is) {
			t.Errorf("%v is not %v", c.err, c.is)
		}
	}
}

func TestFeatures(t *testing.T) {
	f := OffloadChecksum | OffloadTCP4
	if !f.Has(OffloadTCP4) || f.Has(OffloadTCP4|OffloadTCP6) || !f.Has(0) {
		t.Error("Has")
	}
}
