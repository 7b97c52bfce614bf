package forward

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"l3extract/stack"
)

// TestHolesGiveWay: dials that nobody answers take all places, and after a while give
// way to a new one, the oldest first. Their clients hear nothing of it.
func TestHolesGiveWay(t *testing.T) {
	for _, goroutines := range []bool{false, true} {
		t.Run(fmt.Sprint("goroutines=", goroutines), func(t *testing.T) {
			const places = 3
			srv := &Server{DialTimeout: -1, MaxDials: places, goroutines: goroutines}
			r := newRig(t, srv, stack.Config{TCP: lazy})
			ctx, cancel := context.WithCancel(t.Context())
			var clients sync.WaitGroup
			defer clients.Wait()
			defer cancel()
			began := time.Now()
			for i := range places {
				addr := r.front(fmt.Sprintf("203.0.113.%d:80", 1+i), hole(t))
				clients.Go(func() {
					if _, err := r.client.DialContext(ctx, "tcp", addr); !errors.Is(err, context.Canceled) {
						t.Errorf("the client of a hole hears %v", err)
					}
				})
				wait(t, "the dial to begin", func() bool { return srv.Stats().Dialing == int64(1+i) })
			}
			r.listen("198.51.100.7:80")
			_, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80")
			young := time.Since(began) < patientDial // not so on a machine that is very busy
			if young && (!errors.Is(err, syscall.ECONNREFUSED) || srv.Stats().DialsCut != 0) {
				t.Errorf("while all dials are young: %v, %+v", err, srv.Stats())
			}
			wait(t, "a dial to give way", func() bool {
				c, err := r.client.DialContext(soon(t), "tcp", "198.51.100.7:80")
				if err != nil {
					return false
				}
				_ = c.Close()
				return true
			})
			wait(t, "the dial that gave way to end", func() bool { return srv.Stats().Dialing == places-1 })
			if st := srv.Stats(); st.DialsCut != 1 {
				t.Errorf("%d dials were cut", st.DialsCut)
			}
			cut := 0
			for _, cause := range r.causes("tcp", 1) {
				if errors.Is(cause, stack.DialFailed) {
					cut++
				}
			}
			if cut != 1 {
				t.Errorf("%d flows ended because their dial did, want 1", cut)
			}
		})
	}
}
