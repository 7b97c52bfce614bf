package sshtunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
	"l3extract/adapters/outbound"
)

// Dialer opens connections through one SSH server. Its fields must not be changed once
// it is used; its methods may be called at once. Close it.
type Dialer struct {
	// Address is the server's: host:port, or the path of a Unix socket.
	Address string

	// User logs in by PrivateKey, then by Password, or whichever is set.
	User     string
	Password string

	// PrivateKey is the text of a key file, in OpenSSH's or a PEM format; Passphrase is
	// what it is encrypted with.
	PrivateKey []byte
	Passphrase string

	// KnownHosts are files in the format of known_hosts. Default: nil, the user's
	// .ssh/known_hosts, unless Fingerprint or Insecure is set.
	KnownHosts []string

	// Fingerprint is that of the server's host key as "ssh-keygen -l" prints it, with
	// SHA256: in front. Of several keys a server shows the Ed25519 one, if it has one.
	Fingerprint string

	// Insecure believes whoever answers. Default: false.
	Insecure bool

	// KeepAlive is how often the server is asked whether it is still there; one that
	// does not answer for as long again is given up. Default: 0, 30 s. Negative: never.
	KeepAlive time.Duration

	// Dialer reaches the server. Default: nil, a direct.Dialer.
	Dialer outbound.Dialer

	// Timeout bounds a dial: logging in, if need be, and the server's answer when it has
	// reached the destination or not. Default: 0, 10 s. Negative: the context's alone.
	Timeout time.Duration

	session session
	opening atomic.Int64 // channels that the server has not decided about
	runs    sync.WaitGroup
}

// maxOpening bounds the channels that wait for the server. Some may be waited for by
// nobody any more: the protocol cannot take a request back.
const maxOpening = 1024

// DialContext opens a connection to address through the server. Network is "tcp",
// "tcp4" or "tcp6", which are alike: the server resolves names.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, hop.OpError("dial", network, address, err)
	}
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := hop.Networks(network); err != nil {
		return nil, err
	}
	to, err := socksaddr.Split(address)
	if err != nil {
		return nil, err
	}
	p := d.proxy()
	ctx, cancel := p.Bound(ctx)
	defer cancel()
	for {
		cl, fresh, err := d.client(ctx)
		if err != nil {
			return nil, p.Fault(err)
		}
		c, err := d.open(ctx, cl, to)
		var refused *ssh.OpenChannelError
		switch {
		case err == nil:
			return c, nil
		case errors.As(err, &refused):
			return nil, failure(p, refused)
		case ctx.Err() != nil:
			return nil, p.Silent(err)
		case fresh || errors.Is(err, errBusy) || errors.Is(err, errRetired):
			return nil, p.Fault(err)
		}
		d.session.forget(cl) // it has ended without anybody having noticed
	}
}

// Close ends the SSH connection and what it carries, and waits for it. Later dials
// fail with net.ErrClosed.
func (d *Dialer) Close() error {
	if cl := d.session.close(); cl != nil {
		_ = cl.ssh.Close() // it may have ended
	}
	d.runs.Wait()
	return nil
}

// Retire is Close for a Dialer whose connections shall live on: later dials fail, and
// the SSH connection ends with the last that it carries. Close may be called after it.
func (d *Dialer) Retire() {
	if cl := d.session.close(); cl != nil {
		cl.retire()
	}
}

func (d *Dialer) proxy() *hop.Proxy {
	return &hop.Proxy{Protocol: "ssh", Address: d.Address, Dialer: d.Dialer, Timeout: d.Timeout}
}

var (
	errBusy    = errors.New("too many connections wait for its answer")
	errRetired = fmt.Errorf("no more is asked of it: %w", net.ErrClosed)
)

// open asks for a channel. The goroutine outlives the call if ctx ends before the
// server has answered; it ends with the client at the latest, and Close awaits it.
func (d *Dialer) open(ctx context.Context, cl *client, to socksaddr.Addr) (net.Conn, error) {
	if d.opening.Add(1) > maxOpening {
		d.opening.Add(-1)
		return nil, errBusy
	}
	host := to.Name
	if to.IP.IsValid() {
		host = to.IP.String()
	}
	request := ssh.Marshal(&struct {
		Host   string
		Port   uint32
		Origin string // of the client, which is nobody's business there
		Source uint32
	}{host, uint32(to.Port), "0.0.0.0", 0})
	type result struct {
		c   *conn
		err error
	}
	done := make(chan result, 1)
	began := d.begin(cl, func() {
		defer cl.release()
		ch, requests, err := cl.ssh.OpenChannel("direct-tcpip", request)
		d.opening.Add(-1)
		if err != nil {
			done <- result{nil, err}
			return
		}
		c := newConn(ch, cl, to)
		done <- result{c, nil}
		if ctx.Err() != nil { // perhaps nobody waits
			select {
			case <-done:
				_ = c.Close()
			default:
			}
		}
		d.runs.Go(c.pump)             // ends with the channel or with the conn
		ssh.DiscardRequests(requests) // until the channel ends
	})
	if !began {
		d.opening.Add(-1)
		return nil, errRetired
	}
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		return r.c, nil
	case <-ctx.Done():
	}
	select {
	case r := <-done: // at the same moment
		if r.err == nil {
			_ = r.c.Close()
		}
	default:
	}
	return nil, hop.Ended(ctx)
}

// failure returns the error of a server that did not open a channel. Its message is
// what the C library says, in English mostly.
func failure(p *hop.Proxy, e *ssh.OpenChannelError) error {
	switch e.Reason {
	case ssh.Prohibited:
		return p.Refused("not allowed by its configuration", syscall.EACCES)
	case ssh.ResourceShortage:
		return p.Fault(errors.New("has no resources left"))
	case ssh.UnknownChannelType:
		return p.Unsupported("does no forwarding")
	}
	for _, f := range []struct {
		text  string
		why   string
		errno syscall.Errno
	}{
		{"refused", "connection refused", syscall.ECONNREFUSED},
		{"timed out", "connection timed out", syscall.ETIMEDOUT},
		{"twork is unreachable", "network unreachable", syscall.ENETUNREACH},
		{"o route to host", "host unreachable", syscall.EHOSTUNREACH},
	} {
		if strings.Contains(e.Message, f.text) {
			return p.Refused(f.why, f.errno)
		}
	}
	return p.Refused("cannot reach it", syscall.EHOSTUNREACH)
}
