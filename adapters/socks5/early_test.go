package socks5

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"l3extract/adapters/internal/fakeproxy"
	"l3extract/adapters/outbound"
)

// TestEarly: what is written reaches the proxy before it has answered, however the
// handshake is done.
func TestEarly(t *testing.T) {
	for _, how := range []string{"in steps", "pipeline", "pool", "pipeline with password"} {
		t.Run(how, func(t *testing.T) {
			d := &Dialer{Pipeline: strings.HasPrefix(how, "pipeline")}
			steps := []step{greeting, {Want: append(connect4.Want, "hello"...), Answer: connect4.Answer}}
			if strings.HasSuffix(how, "password") {
				d.Username, d.Password = "anna", "s3cret"
				steps = []step{{Want: []byte{5, 1, 2}, Answer: []byte{5, 2}}, password, steps[1]}
			}
			if d.Pipeline {
				var all step
				for _, s := range steps {
					all.Want, all.Answer = append(all.Want, s.Want...), append(all.Answer, s.Answer...)
				}
				steps = []step{all}
			}
			d.Address = serve(t, func(c *net.TCPConn) {
				if play(t, c, steps...) {
					fakeproxy.Echo(c)
				}
			})
			if how == "pool" {
				d.Pool = 1
				defer d.Close()
				d.pool.want = 1
				d.pool.fill(d)
				until(t, "an idle connection", func() bool { return d.Stats().PoolIdle == 1 })
			}
			c, err := d.DialEarly(soon(t), "tcp", "192.0.2.1:80")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, "hello"); err != nil {
				t.Fatal(err)
			}
			wantEcho(t, c)
			if hits := d.Stats().PoolHits; (hits == 1) != (how == "pool") {
				t.Errorf("%d hits", hits)
			}
		})
	}
}

// TestEarlyErrors: of the dial, and of the first Read.
func TestEarlyErrors(t *testing.T) {
	for _, tc := range []struct {
		pipeline bool
		steps    []step
		want     error
		fault    bool
		dial     bool // fails already
	}{
		{true, []step{{Want: append([]byte{5, 1, 0}, connect4.Want...), Answer: []byte{5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0}}}, syscall.ECONNREFUSED, false, false},
		{true, []step{{Want: append([]byte{5, 1, 0}, connect4.Want...), Answer: []byte{5, 0xff}}}, syscall.EACCES, true, false},
		{true, []step{{Want: append([]byte{5, 1, 0}, connect4.Want...)}}, outbound.ErrProxy, true, false},
		{false, []step{greeting, {Want: connect4.Want, Answer: []byte{5, 2}}}, syscall.EACCES, false, false},
		{false, []step{greeting, connect4}, os.ErrDeadlineExceeded, false, false},
		{false, []step{{Want: greeting.Want, Answer: []byte{5, 0xff}}}, syscall.EACCES, true, true},
	} {
		d := &Dialer{Pipeline: tc.pipeline}
		hang := tc.want == os.ErrDeadlineExceeded
		if hang {
			d.Timeout = 50 * time.Millisecond
			tc.steps = tc.steps[:1]
		}
		d.Address = serve(t, func(c *net.TCPConn) {
			if play(t, c, tc.steps...) && hang {
				_, _ = io.Copy(io.Discard, c)
			}
		})
		c, err := d.DialEarly(soon(t), "tcp", "192.0.2.1:80")
		if (err != nil) != tc.dial {
			t.Errorf("%v: the dial: %v", tc.want, err)
			continue
		}
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		var op *net.OpError
		if !errors.Is(err, tc.want) || errors.Is(err, outbound.ErrProxy) != tc.fault || !errors.As(err, &op) || op.Op != "dial" {
			t.Errorf("%v, want %v, fault %v", err, tc.want, tc.fault)
		}
	}
	d := &Dialer{Address: "x:1", Dialer: dialFunc(func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no")
	})}
	for _, a := range [][2]string{{"udp", "192.0.2.1:80"}, {"tcp", "nonsense"}, {"tcp", "192.0.2.1:80"}} {
		if _, err := d.DialEarly(t.Context(), a[0], a[1]); err == nil {
			t.Errorf("%v is no error", a)
		}
	}
}
