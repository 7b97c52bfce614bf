package forward

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// pingKey says what pings a socket sends.
type pingKey struct {
	by  PingListener // which opens it; nil: the Server's
	six bool         // those of IPv6
}

// pingOutlet is such a socket, or why there is none.
type pingOutlet struct {
	socket *pingSocket
	failed error
	again  time.Time // when to ask once more; zero: never
	used   time.Time
}

// maxPingOutlets bounds them. The one that was used least recently makes room: outbounds
// come and go with the configurations of a Route.
const maxPingOutlets = 64

// pingRetry keeps a host that has run out of something from being asked, and the log
// from being told, for every ping.
const pingRetry = 5 * time.Second

var (
	// errPingsOff says that no ping is sent, for now or at all.
	errPingsOff = errors.New("forward: pings are off")
	errNoPings  = fmt.Errorf("forward: the outbound sends no pings: %w", syscall.EACCES)
)

// socket returns the socket of key, and opens it for the first ping. Where pings are not
// permitted, that is said once; if nothing else could send any, no more of them are
// taken. What may pass, such as too many open files, is tried again after a while.
func (p *pinger) socket(ctx context.Context, key pingKey) (*pingSocket, error) {
	o := p.sockets[key]
	now := time.Now()
	if o == nil {
		p.makeRoom()
		o = new(pingOutlet)
		p.sockets[key] = o
	}
	o.used = now
	if o.socket != nil || o.failed != nil && (o.again.IsZero() || now.Before(o.again)) {
		return o.socket, o.failed
	}
	listener := key.by
	if listener == nil {
		listener = p.listener
	}
	if listener == nil || key.by == nil && p.off {
		o.failed = errPingsOff
		return nil, o.failed
	}
	network := ping4
	if key.six {
		network = ping6
	}
	pc, err := listener.ListenPing(ctx, network)
	if err == nil {
		o.socket, err = newPingSocket(pc, key.six)
	}
	if err == nil {
		s := o.socket
		o.failed = nil
		p.readers.Go(func() { s.receive(p.answered, p.faulted) }) // awaited by end, which closes s
		return s, nil
	}
	noIP := errors.Is(err, syscall.EAFNOSUPPORT) // nor will the host have it later
	never := errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported)
	o.again = time.Time{}
	if !noIP && !never {
		o.again = now.Add(p.retry)
	}
	if noIP || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.ENETUNREACH) {
		o.failed = syscall.ENETUNREACH
		return nil, o.failed
	}
	o.failed = errPingsOff
	p.session.log.Warn("pings to other hosts are not answered", "err", err)
	if never && key.by == nil {
		p.off = true // it is so for both IP versions
		if p.session.srv.Route == nil {
			_ = p.acceptor.Close()
		}
	}
	return nil, errPingsOff
}

// makeRoom gives up the outlet that was used least recently, if there are too many.
func (p *pinger) makeRoom() {
	if len(p.sockets) < maxPingOutlets {
		return
	}
	var oldest pingKey
	for key, o := range p.sockets {
		if was := p.sockets[oldest]; was == nil || o.used.Before(was.used) {
			oldest = key
		}
	}
	if o := p.sockets[oldest]; o.socket != nil {
		o.socket.close() // its reader ends
	}
	delete(p.sockets, oldest)
}

// The networks of ListenPing.
const (
	ping4 = "ip4:icmp"
	ping6 = "ip6:ipv6-icmp"
)
