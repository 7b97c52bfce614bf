package udp

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func wantTimeout(t *testing.T, what string, err error) {
	t.Helper()
	var ne net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("%s = %v, want a timeout", what, err)
	}
}

// The deadline rules of x/net/nettest, for what is not a stream.
func TestDeadlines(t *testing.T) {
	f := families[0]
	for name, test := range map[string]func(t *testing.T, r *rig, s *Socket){
		"past": func(t *testing.T, r *rig, s *Socket) {
			r.receive(f.client, f.server, "there is data")
			s.SetDeadline(time.Unix(1, 0))
			for range 2 {
				_, _, err := s.ReadFrom(nil)
				wantTimeout(t, "ReadFrom", err)
				_, err = s.WriteToUDPAddrPort(nil, f.client)
				wantTimeout(t, "WriteTo", err)
			}
			s.SetDeadline(time.Time{})
			if _, err := s.ReadMsg(make([]byte, 99)); err != nil {
				t.Error(err)
			}
			if _, err := s.WriteToUDPAddrPort(nil, f.client); err != nil {
				t.Error(err)
			}
		},
		"present": func(t *testing.T, _ *rig, s *Socket) {
			s.SetDeadline(time.Now())
			_, err := s.ReadMsg(nil)
			wantTimeout(t, "ReadMsg", err)
			_, err = s.WriteToUDPAddrPort(nil, f.client)
			wantTimeout(t, "WriteTo", err)
		},
		"future": func(t *testing.T, _ *rig, s *Socket) {
			start := time.Now()
			for range 3 {
				s.SetDeadline(time.Now().Add(time.Second))
				_, err := s.ReadMsg(nil)
				wantTimeout(t, "ReadMsg", err)
			}
			if d := time.Since(start); d != 3*time.Second {
				t.Errorf("took %v", d)
			}
		},
		"each has its own": func(t *testing.T, r *rig, s *Socket) {
			s.SetReadDeadline(time.Unix(1, 0))
			if _, err := s.WriteToUDPAddrPort(nil, f.client); err != nil {
				t.Error(err)
			}
			s.SetReadDeadline(time.Time{})
			s.SetWriteDeadline(time.Unix(1, 0))
			r.receive(f.client, f.server, "")
			if _, err := s.ReadMsg(nil); err != nil {
				t.Error(err)
			}
		},
		"a datagram in time": func(t *testing.T, r *rig, s *Socket) {
			s.SetReadDeadline(time.Now().Add(time.Minute))
			time.AfterFunc(time.Second, func() { r.receive(f.client, f.server, "") })
			if _, err := s.ReadMsg(nil); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Minute) // the old timer, if it still runs, does no harm
			s.SetReadDeadline(time.Time{})
			time.AfterFunc(time.Second, func() { r.receive(f.client, f.server, "") })
			if _, err := s.ReadMsg(nil); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{Mapping: PerFlow, IdleTimeout: -1})
				s := r.opened(f.client, f.server)
				s.ReadMsg(make([]byte, 9))
				test(t, r, s)
			})
		})
	}
}

// A deadline moves while calls wait for it: nearer, further, away and back.
func TestDeadlineMoves(t *testing.T) {
	for _, tc := range []struct {
		name  string
		moves []time.Duration // one second after another; 0 is none
		want  time.Duration   // from the start
	}{
		{"nearer", []time.Duration{time.Hour, time.Minute}, time.Second + time.Minute},
		{"to the past", []time.Duration{time.Hour, -1}, time.Second},
		{"further", []time.Duration{2 * time.Second, time.Hour}, time.Second + time.Hour},
		{"away and back", []time.Duration{2 * time.Second, 0, time.Minute}, 2*time.Second + time.Minute},
		{"from none", []time.Duration{0, 0, time.Second}, 3 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := families[0]
				r := newRig(t, Config{IdleTimeout: -1})
				s := r.opened(f.client, f.server)
				s.ReadMsg(make([]byte, 9))
				start := time.Now()
				set := func(d time.Duration) {
					at := time.Now().Add(d)
					if d == 0 {
						at = time.Time{}
					}
					if err := s.SetDeadline(at); err != nil {
						t.Error(err)
					}
				}
				set(tc.moves[0])
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						_, err := s.ReadMsg(nil)
						wantTimeout(t, "ReadMsg", err)
						if d := time.Since(start); d != tc.want {
							t.Errorf("ended after %v, want %v", d, tc.want)
						}
					})
				}
				for _, d := range tc.moves[1:] {
					time.Sleep(time.Second)
					set(d)
				}
				wg.Wait()
			})
		})
	}
}

// All methods at once, with datagrams, errors and an end in between: for the
// race detector, and nothing may hang.
func TestConcurrentMethods(t *testing.T) {
	f := families[0]
	for _, mapping := range []Mapping{PerSource, PerFlow, PerDestination} {
		client, server := pair(t, Config{}, Config{Mapping: mapping, MaxSockets: 2, Filtering: AddressDependent})
		c, err := client.dial(ap("10.0.0.2:5000"), f.server)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("x"))
		s := server.accept()
		open := f.server
		if mapping != PerSource {
			open = f.client
		}
		var wg sync.WaitGroup
		for i := range 20 {
			for _, call := range []func(){
				func() { s.ReadMsg(make([]byte, 9)) },
				func() { s.WriteToUDPAddrPort([]byte("y"), open) },
				func() { c.Write([]byte("x")) },
				func() { c.Read(make([]byte, 9)) },
				func() { s.SetDeadline(time.Now().Add(time.Millisecond)) },
				func() { c.SetDeadline(time.Now().Add(time.Millisecond)) },
				func() { s.SetReadBuffer(1000 * (i + 1)); s.SetIdleTimeout(time.Duration(i)) },
				func() { s.Info(); s.Context(); server.Stats(); s.LocalAddr(); s.RemoteAddr() },
				func() { server.receive(clientAt(i, 9), f.server2, "z") },
				func() {
					if i == 10 {
						s.Close()
						c.Close()
					}
				},
			} {
				wg.Go(call)
			}
		}
		wg.Wait()
		client.Close(nil)
		server.Close(nil)
	}
}
