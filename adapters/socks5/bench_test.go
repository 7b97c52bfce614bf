package socks5

import (
	"context"
	"net"
	"testing"
	"time"

	"l3extract/adapters/internal/realproxy"
)

// BenchmarkDial is a connection, a byte there and back, and its end, by way of Dante
// with a password, over a link on which a round trip takes so long.
func BenchmarkDial(b *testing.B) {
	for _, rtt := range []time.Duration{0, 10 * time.Millisecond} {
		for _, way := range []struct {
			name string
			d    *Dialer
		}{
			{"steps", &Dialer{}}, {"pipeline", &Dialer{Pipeline: true}},
			{"pool", &Dialer{Pool: 32}}, {"early", &Dialer{Pipeline: true}},
		} {
			b.Run(way.name+"/"+rtt.String(), func(b *testing.B) {
				d := way.d
				d.Address, d.Username, d.Password = realproxy.Dante(b, true), realproxy.User, realproxy.Password
				if rtt > 0 {
					d.Dialer = slow(rtt)
				}
				defer d.Close()
				echo := realproxy.Echo(b, "127.0.0.1:0")
				dial := d.DialContext
				if way.name == "early" {
					dial = d.DialEarly
				}
				for b.Loop() {
					c, err := dial(context.Background(), "tcp", echo)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := c.Write([]byte("x")); err != nil {
						b.Fatal(err)
					}
					if _, err := c.Read(make([]byte, 1)); err != nil {
						b.Fatal(err)
					}
					_ = c.Close()
				}
			})
		}
	}
}

// slow is a way on which what is written arrives half a round trip later, and so does
// what comes back.
type slow time.Duration

func (s slow) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(s)) // the handshake of TCP
	near, far := net.Pipe()
	copy := func(to, from net.Conn) {
		b := make([]byte, 4096)
		for {
			n, err := from.Read(b)
			time.Sleep(time.Duration(s) / 2)
			if n > 0 {
				if _, err := to.Write(b[:n]); err != nil {
					break
				}
			}
			if err != nil {
				break
			}
		}
		_ = to.Close()
	}
	go copy(c, far) // ends with either end
	go copy(far, c) // ends with either end
	return near, nil
}
