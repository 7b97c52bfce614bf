package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"l3extract/l3conn"
	"l3extract/l3conn/carrier"
	"l3extract/l3conn/tun"
	"l3extract/stack"
)

// newEntry returns the conn of an entry. It dials once it runs, and tells say of each
// change; the socket below the carrier is put into raw.
func newEntry(o *options, keys *credentials, raw *atomic.Pointer[net.Conn], say func(carrier.Change)) (*carrier.Conn, error) {
	dial := dialTLS
	if o.websocket {
		dial = dialWebSocket
	}
	return carrier.New(&carrier.Config{
		OnChange: say,
		Dial: func(ctx context.Context) (l3conn.Conn, error) {
			conn, socket, err := dial(ctx, o.connect, keys)
			if err == nil {
				raw.Store(&socket)
			}
			return conn, err
		},
	})
}

func entry(ctx context.Context, o *options, stdout io.Writer) error {
	keys, err := loadKeys(o.keys, entryName, exitName)
	if err != nil {
		return err
	}
	var raw atomic.Pointer[net.Conn]
	conn, err := newEntry(o, keys, &raw, func(ch carrier.Change) {
		if ch.Cause != nil && !errors.Is(ch.Cause, net.ErrClosed) {
			fmt.Fprintf(stdout, "%v: %v\n", ch.State, ch.Cause)
		} else if ch.State == carrier.Up {
			fmt.Fprintf(stdout, "up: %v\n", o.connect)
		}
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return conn.Run(inner) })
	if o.tun != "" {
		g.Go(func() error { return enterTUN(inner, o, conn, stdout) })
	} else {
		g.Go(func() error {
			defer conn.Close()
			return withClient(inner, o, conn, func(c *http.Client) error { return get(inner, c, o.get, stdout) })
		})
	}
	err = g.Wait()
	if ctx.Err() != nil { // it was asked to end
		return nil
	}
	return err
}

// withClient runs a Stack on conn, and use with an http.Client that dials through it.
func withClient(ctx context.Context, o *options, conn l3conn.Conn, use func(*http.Client) error) error {
	s, err := stack.New(conn, &stack.Config{Addrs: o.addrs})
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: s.DialContext}
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(inner) })
	g.Go(func() error {
		err := use(&http.Client{Transport: transport})
		transport.CloseIdleConnections()
		return errors.Join(err, s.Close())
	})
	return g.Wait()
}

// get fetches a page and says what came.
func get(ctx context.Context, c *http.Client, url string, stdout io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := c.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	h := sha256.New()
	n, err := io.Copy(h, response.Body)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "GET %s %s, %d bytes, SHA-256 %x...\n", url, response.Status, n, h.Sum(nil)[:4])
	return nil
}

// enterTUN carries packets between a TUN interface and conn until ctx ends.
func enterTUN(ctx context.Context, o *options, conn *carrier.Conn, stdout io.Writer) error {
	device, err := tun.Open(&tun.Config{Name: o.tun, MTU: conn.MTU(), Addrs: o.addrs, Routes: o.routes, NoOffload: true})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s is open\n", device.Name())
	var both sync.WaitGroup
	var there, back error
	both.Go(func() { there = carry(device, conn); conn.Close() })
	both.Go(func() { back = carry(conn, device); device.Close() })
	stop := context.AfterFunc(ctx, func() { device.Close() })
	defer stop()
	both.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(there, back)
}

// carry writes to one conn what it reads from the other, in batches where they have
// them, until one of them ends.
func carry(from, to l3conn.Conn) error {
	reader, writer := l3conn.Probe(from).Reader(), l3conn.Probe(to).Writer()
	n := reader.BatchSize()
	bufs, pkts, sizes := make([][]byte, n), make([][]byte, 0, n), make([]int, n)
	for i := range bufs {
		bufs[i] = make([]byte, 65535)
	}
	for {
		n, failed := reader.ReadBatch(bufs, sizes)
		pkts = pkts[:0]
		for i := range n {
			if sizes[i] > 0 {
				pkts = append(pkts, bufs[i][:sizes[i]])
			}
		}
		for len(pkts) > 0 {
			n, err := writer.WriteBatch(pkts)
			if err != nil && !l3conn.Transient(err) {
				return err
			}
			if err != nil {
				n++ // that one is lost, as IP packets are
			}
			pkts = pkts[n:]
		}
		if failed != nil && !l3conn.Transient(failed) {
			return failed
		}
	}
}
