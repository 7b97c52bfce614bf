package dns

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// shunned is how long an upstream that gave no answer is asked after the others.
const shunned = 15 * time.Second

// failover asks several upstreams in turn.
type failover struct {
	upstreams []Upstream
	health    health
}

// Failover returns an upstream that asks the first of these, and when that gives no
// answer, or says SERVFAIL, REFUSED or NOTIMP, the next. One that gave none is asked
// last for 15 s. How long each has is its own Options.Timeout. Close closes them all.
func Failover(upstreams ...Upstream) Upstream {
	return &failover{upstreams: upstreams, health: health{bad: make(map[Upstream]time.Time)}}
}

func (u *failover) String() string {
	var names []string
	for _, one := range u.upstreams {
		if s, ok := one.(interface{ String() string }); ok {
			names = append(names, s.String())
		}
	}
	return strings.Join(names, ",")
}

func (u *failover) account() []UpstreamStats { return accounts(u.upstreams) }

func accounts(all []Upstream) []UpstreamStats {
	var stats []UpstreamStats
	for _, one := range all {
		if a, ok := one.(accountant); ok {
			stats = append(stats, a.account()...)
		}
	}
	return stats
}

func (u *failover) prepare(ctx context.Context) error {
	var errs []error
	for _, one := range u.upstreams {
		errs = append(errs, Prepare(ctx, one))
	}
	return errors.Join(errs...)
}

func (u *failover) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	return u.health.exchange(ctx, query, u.upstreams)
}

func (u *failover) Close() error { return closeAll(u.upstreams) }

// health knows which upstreams gave no answer lately.
type health struct {
	mu  sync.Mutex
	bad map[Upstream]time.Time // until when
}

// exchange asks upstreams in turn, the bad ones last.
func (h *health) exchange(ctx context.Context, query []byte, upstreams []Upstream) ([]byte, error) {
	var errs []error
	var refusal []byte
	for _, u := range h.order(upstreams) {
		response, err := u.Exchange(ctx, query)
		h.note(u, err)
		switch {
		case err != nil && ctx.Err() != nil: // the time is over for all
			return nil, errors.Join(append(errs, err)...)
		case err != nil:
			errs = append(errs, err)
		case refuses(response):
			refusal = response
		default:
			return response, nil
		}
	}
	if refusal != nil {
		return refusal, nil
	}
	if len(errs) == 0 {
		return nil, &net.OpError{Op: "exchange", Net: "dns", Err: errNoServers}
	}
	return nil, errors.Join(errs...)
}

var errNoServers = errors.New("no upstream to ask")

// refuses tells of a response that another server may know better.
func refuses(response []byte) bool {
	if len(response) < headerSize {
		return true
	}
	switch response[3] & rcodeMask {
	case dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented:
		return true
	}
	return false
}

func (h *health) note(u Upstream, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.bad, u)
		return
	}
	now := time.Now()
	for other, until := range h.bad { // one that has gone meanwhile is not asked again
		if !now.Before(until) {
			delete(h.bad, other)
		}
	}
	h.bad[u] = now.Add(shunned)
}

func (h *health) forget(u Upstream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.bad, u)
}

// order returns upstreams with those first that answered.
func (h *health) order(upstreams []Upstream) []Upstream {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	good := make([]Upstream, 0, len(upstreams))
	var bad []Upstream
	for _, u := range upstreams {
		if now.Before(h.bad[u]) {
			bad = append(bad, u)
		} else {
			good = append(good, u)
		}
	}
	return append(good, bad...)
}
