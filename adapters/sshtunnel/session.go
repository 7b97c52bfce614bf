package sshtunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"l3extract/adapters/internal/hop"
)

// session is the one SSH connection of a Dialer, or the attempt to make one.
type session struct {
	mu      sync.Mutex
	current *client
	attempt *attempt
	closed  bool
	ctx     context.Context // of attempts; ended by close
	cancel  context.CancelFunc
}

// attempt is a login that is being made. Many may wait for it.
type attempt struct {
	done   chan struct{}
	client *client
	err    error
}

// client is an SSH connection.
type client struct {
	ssh   *ssh.Client
	wire  *wire
	ended chan struct{} // closed when all channels have ended

	carries atomic.Int64 // channels, those that are asked for included
	retired atomic.Bool  // it ends with the last of them
}

// release is called for each channel that has ended.
func (c *client) release() {
	if c.carries.Add(-1) == 0 && c.retired.Load() {
		_ = c.ssh.Close() // it may have ended
	}
}

// retire ends the client with the last channel.
func (c *client) retire() {
	c.carries.Add(1)
	c.retired.Store(true)
	c.release()
}

// client returns the connection that there is, and whether it was made for this call.
func (d *Dialer) client(ctx context.Context) (cl *client, fresh bool, err error) {
	s := &d.session
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, false, net.ErrClosed
	}
	if cl := s.current; cl != nil {
		s.mu.Unlock()
		return cl, false, nil
	}
	a := s.attempt
	if a == nil {
		if s.ctx == nil {
			s.ctx, s.cancel = context.WithCancel(context.Background())
		}
		a = &attempt{done: make(chan struct{})}
		s.attempt = a
		d.runs.Go(func() { d.connect(s.ctx, a) }) // bounded by Timeout; awaited by Close
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.client, true, a.err
	case <-ctx.Done():
		return nil, false, hop.Ended(ctx)
	}
}

// connect logs in. It is not given up when a dial that waits for it is.
func (d *Dialer) connect(ctx context.Context, a *attempt) {
	s := &d.session
	a.client, a.err = d.login(ctx)
	s.mu.Lock()
	s.attempt = nil
	if a.err == nil && s.closed {
		a.err = net.ErrClosed
	}
	if a.err == nil {
		s.current = a.client
	}
	s.mu.Unlock()
	close(a.done)
	cl := a.client
	if cl == nil {
		return
	}
	if a.err != nil {
		_ = cl.ssh.Close()
	}
	d.runs.Go(func() { d.keepAlive(cl) }) // ends with the client
	_ = cl.ssh.Wait()                     // why, its channels say
	s.forget(cl)
	close(cl.ended)
}

// login makes an SSH connection.
func (d *Dialer) login(ctx context.Context) (*client, error) {
	config, err := d.config()
	if err != nil {
		return nil, err
	}
	p := d.proxy()
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	c, err := p.Dial(ctx)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c}
	cl := &client{wire: w, ended: make(chan struct{})}
	err = hop.Within(ctx, c, func(net.Conn) error {
		conn, channels, requests, err := ssh.NewClientConn(w, d.Address, config)
		if err == nil {
			cl.ssh = ssh.NewClient(conn, channels, requests)
		}
		return err
	})
	if err != nil {
		_ = c.Close()
		return nil, explain(p, err)
	}
	return cl, nil
}

// keepAlive asks the server from time to time whether it is there.
func (d *Dialer) keepAlive(cl *client) {
	every := d.KeepAlive
	switch {
	case every < 0:
		return
	case every == 0:
		every = 30 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-cl.ended:
			return
		case <-tick.C:
		}
		giveUp := time.AfterFunc(every, func() { _ = cl.ssh.Close() })
		_, _, err := cl.ssh.SendRequest("keepalive@openssh.com", true, nil) // any answer will do
		giveUp.Stop()
		if err != nil {
			_ = cl.ssh.Close()
			return
		}
	}
}

// begin runs f for a channel of cl, which f releases; false says that the Dialer was closed
// or retired meanwhile.
func (d *Dialer) begin(cl *client, f func()) bool {
	s := &d.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	cl.carries.Add(1)
	d.runs.Go(f) // awaited by Close, which comes after
	return true
}

// forget makes the next dial log in again.
func (s *session) forget(cl *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == cl {
		s.current = nil
	}
}

// EndVia ends the SSH connection, with all that it carries, if it has lost its way out of
// the host, as lost tells for EndVia of forward.Server: the next dial logs in anew.
func (d *Dialer) EndVia(lost func(local netip.Addr, index int) bool) {
	d.session.mu.Lock()
	cl := d.session.current
	d.session.mu.Unlock()
	if cl != nil && lost(hop.Via(cl.wire.Conn)) {
		d.session.forget(cl)
		_ = cl.ssh.Close() // it may have ended
	}
}

// close takes no more dials, ends an attempt, and returns the client, if there is one.
func (s *session) close() *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.cancel != nil {
		s.cancel()
	}
	return s.current
}

// wire is the connection to the server. It knows that it has ended before anybody who
// uses a channel does.
type wire struct {
	net.Conn
	broken atomic.Bool
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		w.broken.Store(true)
	}
	return n, err
}

// errBroken is the end of everything that a client carried.
var errBroken = errors.New("the SSH connection ended")
