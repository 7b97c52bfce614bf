package stack

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"l3extract/l3conn"
	"l3extract/tcp"
)

func TestConfigErrorsNameTheField(t *testing.T) {
	x, _ := l3conn.Pipe(0, 0)
	for _, tc := range []struct {
		cfg  Config
		want string
	}{
		{Config{MTU: 67}, "Config.MTU is 67"},
		{Config{MTU: 1279, Addrs: serverAddrs}, "Config.MTU is 1279"},
		{Config{MTU: 9000}, "Config.MTU is 9000, but the conn carries 1500"},
		{Config{MemoryLimit: 5}, "Config.MemoryLimit is 5"},
		{Config{Shards: -1}, "Config.Shards is -1"},
		{Config{Shards: 65}, "Config.Shards is 65"},
		{Config{ICMP: ICMPConfig{Echo: 9}}, "Config.ICMP.Echo is 9"},
		{Config{TCP: tcp.Config{HopLimit: 300}}, "Config.HopLimit is 300"},
	} {
		_, err := New(x, &tc.cfg)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("New: %v, want it to say %q", err, tc.want)
		}
	}
	if _, err := New(nil, nil); err == nil {
		t.Error("New(nil, nil) is no error")
	}
}

func TestCloseBeforeRun(t *testing.T) {
	x, _ := l3conn.Pipe(0, 0)
	s, err := New(x, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if err := s.Run(background); err != nil {
		t.Fatalf("Run after Close: %v", err)
	}
	if _, err := s.TCP().AcceptStream(background); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Accept after Close: %v", err)
	}
	if _, err := s.UDP().AcceptSocket(background); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("AcceptSocket after Close: %v", err)
	}
}

func TestRunOnce(t *testing.T) {
	x, _ := l3conn.Pipe(0, 0)
	s := newStack(t, x, Config{})
	<-s.started
	if err := s.Run(background); !errors.Is(err, ErrRunning) {
		t.Fatalf("second Run: %v", err)
	}
}

// TestRunReturns: nil after Close, the context's cause, the conn's error; and the
// conn stays open and its owner's, because it has deadlines.
func TestRunReturns(t *testing.T) {
	why := errors.New("enough")
	for _, tc := range []struct {
		name string
		end  func(s *Stack, cancel context.CancelCauseFunc, other *l3conn.PipeEnd)
		want error
		open bool
	}{
		{"Close", func(s *Stack, _ context.CancelCauseFunc, _ *l3conn.PipeEnd) { _ = s.Close() }, nil, true},
		{"cancel", func(_ *Stack, cancel context.CancelCauseFunc, _ *l3conn.PipeEnd) { cancel(why) }, why, true},
		{"conn", func(_ *Stack, _ context.CancelCauseFunc, other *l3conn.PipeEnd) { _ = other.Close() }, io.EOF, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x, y := l3conn.Pipe(0, 0)
			s, err := New(x, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(background)
			defer cancel(nil)
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			<-s.started
			go tc.end(s, cancel, y)
			if err := <-done; !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
				t.Fatalf("Run: %v, want %v", err, tc.want)
			}
			if err := s.Err(); !errors.Is(err, net.ErrClosed) || (tc.want != nil && !errors.Is(err, tc.want)) {
				t.Fatalf("Err: %v", err)
			}
			if _, err := s.TCP().Accept(); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("Accept: %v", err)
			}
			if tc.open {
				if _, err := y.Write([]byte("still open")); err != nil {
					t.Fatalf("the conn was closed: %v", err)
				}
				if n, err := x.Read(make([]byte, 100)); n != 10 || err != nil {
					t.Fatalf("read of the owner: %d, %v", n, err)
				}
			}
		})
	}
}

// TestAbandonedRead: a conn with neither deadline nor Close keeps one goroutine,
// which is counted and touches no packet.
func TestAbandonedRead(t *testing.T) {
	release := make(chan struct{})
	conn := l3conn.Funcs{
		ReadFunc:  func(b []byte) (int, error) { <-release; return 0, io.EOF },
		WriteFunc: func(b []byte) (int, error) { return len(b), nil },
	}
	s, err := New(conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(background) }()
	<-s.started
	_ = s.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Abandoned; n != 1 {
		t.Fatalf("Abandoned = %d, want 1", n)
	}
	close(release)
	for s.Stats().Abandoned != 0 { // until the goroutine has ended
	}
}

// TestManyStacks: eight stacks in one process, closed in any order.
func TestManyStacks(t *testing.T) {
	var all []*Stack
	for range 4 {
		c, s := pair(t, Config{}, Config{})
		a, b, err := connect(c, s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		all = append(all, c, s)
	}
	var wg sync.WaitGroup
	for _, i := range []int{5, 0, 7, 2, 1, 6, 4, 3} {
		wg.Go(func() {
			_ = all[i].Close()
			_ = all[i].Close()
		})
	}
	wg.Wait()
	for _, s := range all {
		if n := s.flows.Len(); n != 0 {
			t.Errorf("%d flows left", n)
		}
	}
}
