package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	mediaType    = "application/dns-message"
	defaultPath  = "/dns-query"
	httpsIdle    = 60 * time.Second
	httpsConns   = 4
	httpsPing    = 5 * time.Second // a connection that is silent for so long is tried
	httpsHeaders = 16 << 10
)

// https is an upstream over HTTPS (RFC 8484), HTTP/2 where the server has it.
type https struct {
	*target
	url       string
	transport *http.Transport
	client    *http.Client
	stats     upstreamCounters

	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup // exchanges; Close awaits it
}

func newHTTPS(t *target, o *Options, path string) *https {
	if path == "" || path == "/" {
		path = defaultPath
	}
	u := &https{target: t, url: (&url.URL{Scheme: "https", Host: t.String(), Path: path}).String()}
	u.transport = &http.Transport{
		// No Proxy: how the server is reached is the Dialer's matter, not the environment's.
		// The context has no end, because the request that a connection is opened for may be
		// over before it is open: without one of ours a server that is silent then would
		// hold all of MaxConnsPerHost for ever.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := o.within(ctx)
			defer cancel()
			return t.dial(ctx)
		},
		TLSHandshakeTimeout:    max(o.Timeout, 0),
		TLSClientConfig:        t.tlsConfig(o.TLS),
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxConnsPerHost:        httpsConns,
		IdleConnTimeout:        httpsIdle,
		MaxResponseHeaderBytes: httpsHeaders,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: httpsPing, PingTimeout: httpsPing},
	}
	u.client = &http.Client{
		Transport: u.transport,
		// Another server than the one that was chosen is none of ours.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return u
}

func (u *https) String() string { return u.url }

func (u *https) account() []UpstreamStats { return u.stats.stats(u.url) }

func (u *https) Exchange(ctx context.Context, query []byte) (response []byte, err error) {
	if !u.enter() {
		return nil, net.ErrClosed
	}
	defer u.group.Done()
	defer func() { u.stats.ended(err) }()
	ctx, cancel := u.options.within(ctx)
	defer cancel()
	if len(query) < headerSize {
		return nil, errLie
	}
	asked := padded(query)
	if len(asked) == len(query) {
		asked = bytes.Clone(query)
	}
	asked[0], asked[1] = 0, 0 // RFC 8484, 4.1
	for range 1 + httpsConns {
		var reused bool
		response, reused, err = u.post(ctx, asked)
		// A server may close idle connections at any time, and http.Transport does not
		// try again over HTTP/2.
		if err == nil || !reused || ctx.Err() != nil || errors.As(err, new(*refusal)) {
			break
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ended(ctx, u.target)
		}
		var late interface{ Timeout() bool }
		if errors.As(err, &late) && late.Timeout() { // the Transport's own, of a handshake
			err = os.ErrDeadlineExceeded
		} else if errors.As(err, new(*net.OpError)) {
			return nil, err
		}
		return nil, &net.OpError{Op: "exchange", Net: "https", Addr: name(u.target.String()), Err: err}
	}
	if err := responds(response, asked); err != nil {
		u.stats.ignored.Add(1)
		return nil, err
	}
	copy(response, query[:2])
	return response, nil
}

func (u *https) enter() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.group.Add(1)
	}
	return !u.closed
}

// refusal is the error of a server that has answered something else.
type refusal struct{ error }

func (e *refusal) Unwrap() error { return e.error }

// post asks query once, and tells whether that was over a connection that was open.
func (u *https) post(ctx context.Context, query []byte) (response []byte, reused bool, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url, bytes.NewReader(query))
	if err != nil {
		return nil, false, err
	}
	r.Header.Set("Content-Type", mediaType)
	r.Header.Set("Accept", mediaType)
	r.Header.Set("User-Agent", "") // none
	answer, err := u.client.Do(r)
	if err != nil {
		return nil, reused, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, reused, &refusal{fmt.Errorf("the server says %s", answer.Status)}
	}
	if t, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); t != mediaType {
		return nil, reused, &refusal{fmt.Errorf("%w: its type is %.60q", errLie, answer.Header.Get("Content-Type"))}
	}
	b, err := io.ReadAll(io.LimitReader(answer.Body, dns.MaxMsgSize+1))
	if err == nil && len(b) > dns.MaxMsgSize {
		err = &refusal{fmt.Errorf("%w: longer than a message can be", errLie)}
	}
	return b, reused, err
}

// Close implements Upstream. Exchanges that are under way end in their time.
func (u *https) Close() error {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.group.Wait()
	u.transport.CloseIdleConnections()
	return nil
}
