package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"l3extract/stack"
)

// dnsRelay answers the command's DNS queries by asking the host's resolvers,
// from outside. It reads no more of a message than its header.
type dnsRelay struct {
	// servers returns whom to ask, in this order. It is called for each query,
	// because a laptop changes its resolvers with its network.
	servers func() []netip.AddrPort
	dialer  net.Dialer
	// log, if set, is told of each query over UDP as of a flow: for the stack they
	// all are one socket.
	log func(stack.Flow)
}

const (
	// A query that finds this many others in flight is dropped, and the client
	// asks again; a connection waits in the listener's queue.
	dnsQueries = 256
	dnsStreams = 64

	// How long one server has before the next is asked. Shorter than the five
	// seconds after which resolvers ask again.
	dnsPatience = 2 * time.Second
	// RFC 7766 leaves idle connections to the server's judgement.
	dnsIdle = 30 * time.Second

	dnsHeader  = 12
	dnsMaximum = 65535
)

// servePackets answers datagrams until pc is closed.
func (d *dnsRelay) servePackets(ctx context.Context, pc net.PacketConn) error {
	slots := semaphore.NewWeighted(dnsQueries)
	var g errgroup.Group // the queries in flight; awaited below
	b := make([]byte, dnsMaximum)
	var err error
	for {
		var n int
		var from net.Addr
		n, from, err = pc.ReadFrom(b)
		if err != nil {
			break
		}
		if n < dnsHeader || !slots.TryAcquire(1) {
			continue
		}
		query := append([]byte(nil), b[:n]...)
		g.Go(func() error {
			defer slots.Release(1)
			began := time.Now()
			answer := d.ask(ctx, query)
			// A client that is not there any more needs no answer.
			_, _ = pc.WriteTo(answer, from)
			d.account(began, from, pc.LocalAddr(), len(query), len(answer))
			return nil
		})
	}
	return errors.Join(ended(err), g.Wait())
}

func (d *dnsRelay) account(began time.Time, from, to net.Addr, in, out int) {
	src, ok1 := from.(*net.UDPAddr)
	dst, ok2 := to.(*net.UDPAddr)
	if d.log == nil || !ok1 || !ok2 {
		return
	}
	d.log(stack.Flow{
		Network: "udp", Source: src.AddrPort(), Destination: dst.AddrPort(),
		Opened: began, Ended: time.Now(), In: uint64(in), Out: uint64(out), Cause: stack.Closed,
	})
}

// ask returns the first answer that any server gives, or one that says that
// there is none.
func (d *dnsRelay) ask(ctx context.Context, query []byte) []byte {
	for _, server := range d.servers() {
		if answer, err := d.askOne(ctx, server, query); err == nil {
			return answer
		}
	}
	return serverFailure(query)
}

func (d *dnsRelay) askOne(ctx context.Context, server netip.AddrPort, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsPatience)
	defer cancel()
	// A socket for each query: its port is random, and only that server's packets
	// arrive on it.
	c, err := d.dialer.DialContext(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	b := make([]byte, dnsMaximum)
	for {
		n, err := c.Read(b)
		if err != nil {
			return nil, err
		}
		if n >= dnsHeader && b[0] == query[0] && b[1] == query[1] && b[2]&0x80 != 0 {
			return b[:n], nil
		}
	}
}

// serverFailure makes the answer SERVFAIL (RFC 1035 4.1.1), so that the client
// does not wait for a server that nobody can reach.
func serverFailure(query []byte) []byte {
	const (
		response           = 0x80
		recursionAvailable = 0x80
		failure            = 2
	)
	answer := append([]byte(nil), query...)
	answer[2] |= response
	answer[3] = recursionAvailable | failure
	// Only the question stays; what followed it (an OPT record) goes uncounted,
	// which a reader ignores.
	binary.BigEndian.PutUint32(answer[6:], 0)
	binary.BigEndian.PutUint16(answer[10:], 0)
	return answer
}

// serveStreams relays connections until ln is closed.
func (d *dnsRelay) serveStreams(ctx context.Context, ln net.Listener) error {
	var g errgroup.Group // the relays; awaited below
	g.SetLimit(dnsStreams)
	var err error
	for {
		var c net.Conn
		if c, err = ln.Accept(); err != nil {
			break
		}
		g.Go(func() error {
			d.relay(ctx, c)
			return nil
		})
	}
	return errors.Join(ended(err), g.Wait())
}

// relay joins c with the first server that can be reached.
func (d *dnsRelay) relay(ctx context.Context, c net.Conn) {
	defer c.Close()
	up := d.connect(ctx)
	if up == nil {
		return
	}
	defer up.Close()
	stop := context.AfterFunc(ctx, func() {
		c.Close()
		up.Close()
	})
	defer stop()
	var g errgroup.Group // one direction; awaited below
	g.Go(func() error { return pour(up, c) })
	_ = pour(c, up) // what ends one direction ends the other, by Close or by EOF
	_ = g.Wait()
}

func (d *dnsRelay) connect(ctx context.Context) net.Conn {
	for _, server := range d.servers() {
		ctx, cancel := context.WithTimeout(ctx, dnsPatience)
		up, err := d.dialer.DialContext(ctx, "tcp", server.String())
		cancel()
		if err == nil {
			return up
		}
	}
	return nil
}

// pour copies until from ends, or nothing comes for too long, and ends to.
func pour(to, from net.Conn) error {
	b := make([]byte, 4<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(dnsIdle))
		n, err := from.Read(b)
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return err
			}
		}
		if h, ok := to.(interface{ CloseWrite() error }); ok && errors.Is(err, io.EOF) {
			return h.CloseWrite()
		}
		if err != nil {
			return errors.Join(err, to.Close())
		}
	}
}

// ended is nil for the error of an Accept or ReadFrom that Close has ended.
func ended(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
