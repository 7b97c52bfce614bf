package carrier

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/l3conn"
)

// TestGoneForSeconds: what is written while there is no carrier waits, and nothing of it
// is lost; readers at both ends do not notice.
func TestGoneForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := mustNew(t, Config{})
		cable := newCable(t, far)
		near := mustNew(t, Config{Dial: cable.dial})
		runs(t, near)
		got := collect(far)
		seq := 0
		for range 20 {
			synctest.Wait() // what was written has been read: a cut takes nothing along
			cable.fail(errNoWay)
			cable.cut()
			time.AfterFunc(7*second, func() { cable.fail(nil) })
			for range 3 {
				if n, err := near.WriteBatch([][]byte{packet(seq), packet(seq + 1)}); n != 2 || err != nil {
					t.Fatal(n, err)
				}
				if n, err := near.Write(packet(seq + 2)); n != 40 || err != nil {
					t.Fatal(n, err)
				}
				seq += 3
			}
		}
		for want := range seq {
			if at := <-got; at != want {
				t.Fatalf("packet %d instead of %d", at, want)
			}
		}
		s := near.Stats()
		if s.State != Up || s.Losses != 20 || s.Carriers != 21 || s.Waits == 0 || s.Lost != 0 || s.DownFor < 7*20*second || s.DownFor > 13*20*second {
			t.Errorf("%+v", s)
		}
		if s := far.Stats(); s.Losses+s.Replaced != 20 || s.Carriers != 21 {
			t.Errorf("far: %+v", s)
		}
	})
}

// TestWaitEnds: after Config.Wait packets are lost at once, until there is a carrier.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mustNew(t, Config{Wait: 5 * second})
		start := time.Now()
		for range 10 {
			if n, err := c.Write(packet(1)); n != 0 || err != l3conn.ErrDown {
				t.Fatal(n, err)
			}
			if n, err := c.WriteBatch([][]byte{packet(1)}); n != 0 || err != l3conn.ErrDown {
				t.Fatal(n, err)
			}
		}
		if took := time.Since(start); took != 5*second {
			t.Errorf("20 packets waited %v", took)
		}
		if s := c.Stats(); s.Lost != 20 || s.Waits != 1 {
			t.Errorf("%+v", s)
		}
		x, y := l3conn.Pipe(0, 0)
		if err := c.Replace(x); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(packet(2)); err != nil {
			t.Fatal(err)
		}
		if n, err := y.Read(make([]byte, 100)); n != 40 || err != nil {
			t.Error(n, err)
		}
		y.Close()

		impatient := mustNew(t, Config{Wait: -1})
		if _, err := impatient.Write(packet(1)); err != l3conn.ErrDown {
			t.Error(err)
		}
	})
}

// TestGoneForEver: the end comes after the limit, with its reason, for all.
func TestGoneForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []Change
		cable := newCable(t, nil)
		c := mustNew(t, Config{Dial: cable.dial, Limit: time.Minute, OnChange: func(ch Change) { heard = append(heard, ch) }})
		done := runs(t, c)
		<-cable.dialled
		got := collect(c)
		time.Sleep(time.Hour) // a carrier that says nothing is a carrier
		cable.fail(errNoWay)
		cable.cut()
		start := time.Now()
		err := <-done
		if took := time.Since(start); took != time.Minute {
			t.Errorf("after %v", took)
		}
		var gone *GoneError
		if !errors.As(err, &gone) || gone.Last != errNoWay || !errors.Is(err, syscall.ETIMEDOUT) || l3conn.Transient(err) {
			t.Error(err)
		}
		if _, open := <-got; open {
			t.Error("a packet out of nothing")
		}
		if _, err := c.Read(make([]byte, 100)); !errors.As(err, &gone) {
			t.Error("Read:", err)
		}
		if _, err := c.Write(packet(1)); !errors.As(err, &gone) {
			t.Error("Write:", err)
		}
		x, _ := l3conn.Pipe(0, 0)
		if err := c.Replace(x); !errors.As(err, &gone) {
			t.Error("Replace:", err)
		}
		if n, err := x.Write(packet(1)); n != 40 { // still the caller's
			t.Error(err)
		}
		synctest.Wait() // the observer has returned
		states := []State{}
		for _, ch := range heard {
			states = append(states, ch.State)
		}
		if !slices.Equal(states, []State{Up, Down, Over}) || heard[1].Cause == nil || !errors.As(heard[2].Cause, &gone) {
			t.Errorf("heard %+v", heard)
		}
		if s := c.Stats(); s.State != Over || s.Losses != 1 || s.DialErrors < 10 || s.DialErrors > 100 {
			t.Errorf("%+v", s)
		}
	})
}

// TestPermanent: an error that will not pass is the end at once.
func TestPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denied := errors.New("wrong password")
		cable := newCable(t, nil)
		cable.fail(Permanent(denied))
		c := mustNew(t, Config{Dial: cable.dial})
		if err := <-runs(t, c); !errors.Is(err, denied) {
			t.Error(err)
		}
		if _, err := c.Read(nil); !errors.Is(err, denied) || cable.count() != 1 {
			t.Errorf("%d dials, %v", cable.count(), err)
		}
	})
}

// TestBackoff: pauses grow while dials fail, and begin anew after a carrier that
// lasted; one that is lost at once is no success.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cable := newCable(t, nil)
		cable.fail(errNoWay)
		c := mustNew(t, Config{Dial: cable.dial, Limit: -1})
		runs(t, c)
		collect(c) // finds losses
		time.Sleep(time.Hour)
		if n := cable.count(); n < 3600/8 || n > 3600/2 {
			t.Errorf("%d dials in an hour", n)
		}
		cable.fail(nil)
		<-cable.dialled
		time.Sleep(time.Minute)
		cable.cut()
		start := time.Now()
		<-cable.dialled
		if took := time.Since(start); took > 0 {
			t.Errorf("the successor of a good carrier waited %v", took)
		}
	})
}

// TestDialEnds: Close, the context and the time-out end a Dial that hangs.
func TestDialEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) (l3conn.Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		c := mustNew(t, Config{Dial: hang})
		done := runs(t, c)
		time.Sleep(3 * DefaultDialTimeout)
		if s := c.Stats(); s.Dials != 2 || s.DialErrors != 2 || !errors.Is(s.Last, context.DeadlineExceeded) {
			t.Errorf("%+v", s)
		}
		c.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}

		c = mustNew(t, Config{Dial: hang})
		ctx, cancel := context.WithCancelCause(context.Background())
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		if err := c.Run(ctx); err == nil || !strings.Contains(err.Error(), "runs already") {
			t.Error(err)
		}
		cancel(errNoWay)
		if err := <-done; err != errNoWay {
			t.Error(err)
		}
		if c.Stats().State != Down {
			t.Error("the end of Run ended the Conn")
		}
		if err := mustNew(t, Config{}).Run(ctx); err == nil {
			t.Error("Run without Dial")
		}
	})
}

// TestReplace: the newest wins, without a packet lost or a call ended.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := mustNew(t, Config{}), mustNew(t, Config{})
		got := collect(far)
		for i := range 10 {
			x, y := l3conn.Pipe(0, 0)
			for c, end := range map[*Conn]l3conn.Conn{near: x, far: y} {
				if err := c.Replace(end); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := near.Write(packet(i)); err != nil {
				t.Fatal(err)
			}
			if seq := <-got; seq != i {
				t.Fatal(seq)
			}
		}
		if s := far.Stats(); s.Replaced+s.Losses != 9 || s.Carriers != 10 {
			t.Errorf("%+v", s)
		}
		small, _ := l3conn.Pipe(0, 1499)
		if err := near.Replace(small); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "1499") {
			t.Error(err)
		}
		if err := near.Replace(l3conn.Funcs{}); !errors.Is(err, syscall.EINVAL) {
			t.Error(err)
		}
	})
}

// TestDeadlinesWithoutCarrier, and with one that has none: they pass, and the Conn lives.
func TestDeadlinesWithoutCarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mustNew(t, Config{})
		call := map[string]func() error{
			"read":  func() error { _, err := c.Read(make([]byte, 100)); return err },
			"batch": func() error { _, err := c.ReadBatch([][]byte{make([]byte, 100)}, make([]int, 1)); return err },
			"write": func() error { _, err := c.Write(packet(1)); return err },
		}
		for _, carrier := range []string{"none", "bare", "able"} {
			for name, f := range call {
				var ends [2]*l3conn.PipeEnd
				if carrier != "none" {
					ends[0], ends[1] = l3conn.Pipe(1, 0)
					var conn l3conn.Conn = ends[0]
					if carrier == "bare" {
						conn = bare{ends[0]}
					}
					if err := c.Replace(conn); err != nil {
						t.Fatal(err)
					}
					if name == "write" {
						if err := f(); err != nil { // the next one finds no room
							t.Fatal(err)
						}
					}
				}
				for range 2 {
					start := time.Now()
					_ = c.SetReadDeadline(start.Add(3 * second))
					_ = c.SetWriteDeadline(start.Add(3 * second))
					if err := f(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*second {
						t.Errorf("%s, %s: %v after %v", carrier, name, err, time.Since(start))
					}
					if err := f(); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("%s, %s: again %v", carrier, name, err)
					}
				}
				_ = c.SetReadDeadline(time.Time{})
				_ = c.SetWriteDeadline(time.Time{})
				want := map[string]State{"none": Down, "bare": Down, "able": Up}[carrier]
				if got := c.Stats().State; got != want {
					t.Errorf("%s, %s: %v", carrier, name, got)
				}
				if want == Up {
					ends[0].Close()
					_, _ = c.Write(packet(1)) // finds it out, and waits for another; ErrDown after that
				}
				for _, e := range ends {
					if e != nil {
						e.Close()
					}
				}
			}
		}
	})
}

// TestCloseEndsAll: whatever waits is ended, and Close can be repeated.
func TestCloseEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mustNew(t, Config{OnChange: func(Change) {}})
		errs := make(chan error, 2)
		go func() { _, err := c.Read(make([]byte, 100)); errs <- err }()
		go func() { _, err := c.Write(packet(1)); errs <- err }()
		synctest.Wait()
		c.Close()
		c.Close()
		for range 2 {
			if err := <-errs; !isClosed(err) {
				t.Error(err)
			}
		}
		x, y := l3conn.Pipe(0, 0)
		if err := c.Replace(x); !isClosed(err) {
			t.Error(err)
		}
		c = mustNew(t, Config{})
		if err := c.Replace(x); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if _, err := y.Read(nil); err != io.EOF {
			t.Error("the carrier lives: ", err)
		}
	})
}

// TestObserverMayCall: an observer may use the Conn.
func TestObserverMayCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *Conn
		var states []State
		ready := make(chan struct{})
		c = mustNew(t, Config{Limit: 1, OnChange: func(ch Change) {
			<-ready
			states = append(states, ch.State)
			_ = c.Stats()
			c.Close()
		}})
		x, _ := l3conn.Pipe(0, 0)
		close(ready)
		_ = c.Replace(x) // or the limit was first
		c.Close()
		synctest.Wait()
		if len(states) == 0 || states[len(states)-1] != Over {
			t.Errorf("heard %v", states)
		}
	})
}

func TestConfigRefused(t *testing.T) {
	for field, c := range map[string]Config{
		"MTU":        {MTU: 67},
		"MinBackoff": {MinBackoff: -1},
		"MaxBackoff": {MinBackoff: second, MaxBackoff: 1},
	} {
		if _, err := New(&c); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
