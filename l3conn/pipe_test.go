package l3conn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipeBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(2, 0)
		done := make(chan error, 1)
		go func() { // ends when the third packet has room
			for i := range 3 {
				if _, err := a.Write([]byte{byte(i)}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatal("a full pipe took a packet", err)
		default:
		}
		buf := make([]byte, 4)
		for i := range 3 {
			if n, err := b.Read(buf); n != 1 || err != nil || buf[0] != byte(i) {
				t.Fatal(n, err, buf[0])
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestPipeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(1, 0)
		buf := make([]byte, 9)
		start := time.Now()
		a.SetDeadline(start.Add(time.Minute))
		if _, err := a.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Fatal(err, time.Since(start))
		}
		synctest.Wait() // the timer of the write side fires at the same instant
		var ne net.Error
		if _, err := a.Write(buf); !errors.As(err, &ne) || !ne.Timeout() {
			t.Fatal(err)
		}
		a.SetDeadline(time.Time{})
		if n, err := a.Write(buf); n != 9 || err != nil {
			t.Fatal(n, err)
		}
		a.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := a.Write(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		// A deadline moved while a Read blocks counts, the old one no longer does.
		b.Read(buf)
		b.SetReadDeadline(time.Now().Add(time.Second))
		moved, start := make(chan error), time.Now()
		go func() { _, err := b.Read(buf); moved <- err }() // ends by the second deadline
		synctest.Wait()
		b.SetReadDeadline(time.Now().Add(time.Hour))
		if err := <-moved; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Hour {
			t.Fatal(err, time.Since(start))
		}
		a.SetDeadline(time.Now().Add(time.Hour)) // Close must stop these timers
		a.Close()
		a.SetDeadline(time.Now().Add(time.Hour))
		b.Close()
	})
}

func TestPipeClose(t *testing.T) {
	a, b := Pipe(4, 0)
	buf := make([]byte, 9)
	a.Write([]byte("last"))
	b.Write([]byte("lost"))
	for range 2 {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Read(buf); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := a.Write(buf); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if n, err := b.Read(buf); string(buf[:n]) != "last" || err != nil {
		t.Error(n, err)
	}
	for range 2 {
		if n, err := b.Read(buf); n != 0 || err != io.EOF {
			t.Error(n, err)
		}
	}
	if _, err := b.Write(buf); !errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
}

func TestPipeCloseWakesWriter(t *testing.T) {
	for _, end := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			a, b := BatchPipe(1, 0, 0)
			done := make(chan error)
			go func() { _, err := a.WriteBatch([][]byte{{1}, {2}}); done <- err }() // ends by Close
			synctest.Wait()
			[]*BatchPipeEnd{a, b}[end].Close()
			want := []error{net.ErrClosed, syscall.EPIPE}[end]
			if err := <-done; !errors.Is(err, want) {
				t.Error(err, "want", want)
			}
		})
	}
}

func TestPipeSizes(t *testing.T) {
	a, b := BatchPipe(8, 100, 2)
	if a.MTU() != 100 || a.BatchSize() != 2 {
		t.Fatal(a.MTU(), a.BatchSize())
	}
	if _, err := a.Write(make([]byte, 101)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Error(err)
	}
	if n, err := a.Write(nil); n != 0 || err != nil {
		t.Error("empty packet:", n, err)
	}
	long := bytes.Repeat([]byte{7}, 100)
	if n, err := a.WriteBatch([][]byte{{1}, long, {}, {3}}); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := a.WriteBatch([][]byte{{4}, make([]byte, 101)}); n != 1 || err != ErrTooLong {
		t.Fatal(n, err)
	}
	bufs, sizes := [][]byte{make([]byte, 50), make([]byte, 50), nil}, []int{9, 9, 9}
	if n, err := b.ReadBatch(bufs, sizes); n != 2 || err != nil || sizes[0] != 1 || sizes[1] != 0 || sizes[2] != 9 {
		t.Fatal(n, err, sizes)
	}
	if n, err := b.ReadBatch(nil, nil); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := b.Read(nil); err != ErrShortBuffer {
		t.Fatal(err)
	}
	if n, err := b.Read(bufs[0]); n != 1 || err != nil || bufs[0][0] != 4 {
		t.Fatal(n, err)
	}
}

func TestPipeAllocatesNothing(t *testing.T) {
	a, b := BatchPipe(4, 0, 0)
	p, buf := make([]byte, 1000), make([]byte, 1500)
	pkts, bufs, sizes := [][]byte{p, p}, [][]byte{buf, buf}, make([]int, 2)
	round := func() {
		a.Write(p)
		b.Read(buf)
		a.WriteBatch(pkts)
		b.ReadBatch(bufs, sizes)
	}
	for range 4 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestPipeAtOnce: with several readers and writers at each end every packet arrives
// once, also those that were written just before the end closed.
func TestPipeAtOnce(t *testing.T) {
	const writers, readers, each = 4, 3, 5000
	for _, packets := range []int{1, 3, 256} {
		a, b := BatchPipe(packets, 0, 8)
		var seen [writers][each]atomic.Int32
		var writing, reading sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for i := 0; i < each; {
					var pkts [][]byte
					for range min(1+i%5, each-i) {
						pkts = append(pkts, []byte{byte(w), byte(i), byte(i >> 8)})
						i++
					}
					if len(pkts) == 1 {
						if _, err := a.Write(pkts[0]); err != nil {
							t.Error(err)
						}
					} else if n, err := a.WriteBatch(pkts); n != len(pkts) || err != nil {
						t.Error(n, err)
					}
				}
			})
		}
		for r := range readers {
			reading.Go(func() {
				bufs, sizes := make([][]byte, 8), make([]int, 8)
				for i := range bufs {
					bufs[i] = make([]byte, 4)
				}
				for {
					n, err := 1, error(nil)
					if r == 0 {
						sizes[0], err = b.Read(bufs[0])
					} else {
						n, err = b.ReadBatch(bufs, sizes)
					}
					if err != nil {
						if err != io.EOF {
							t.Error(err)
						}
						return
					}
					for i, p := range bufs[:n] {
						if sizes[i] != 3 {
							t.Errorf("packet of %d bytes", sizes[i])
							continue
						}
						seen[p[0]][int(p[1])|int(p[2])<<8].Add(1)
					}
				}
			})
		}
		writing.Wait()
		a.Close()
		reading.Wait()
		for w := range seen {
			for i := range seen[w] {
				if n := seen[w][i].Load(); n != 1 {
					t.Fatalf("packet %d of writer %d arrived %d times", i, w, n)
				}
			}
		}
	}
}
