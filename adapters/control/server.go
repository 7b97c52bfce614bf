package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"l3extract/adapters/forward"
	"l3extract/stack"
)

// Server answers for one stack. Its fields must not be changed once it serves. All
// methods may be called at once.
type Server struct {
	// Stack is what is shown. Required.
	Stack *stack.Stack

	// Forward is the server of its flows. Default: nil, none is shown.
	Forward *forward.Server

	// Causes counts why flows ended. Default: nil, this is not shown.
	Causes *Causes

	// Describe, if set, says by what name a flow's destination was asked for, and by which
	// outbound it goes; each may be "". It is called for every flow that is looked at, and
	// must not wait. Default: nil.
	Describe func(stack.Flow) (name, outbound string)

	// Extra are further counters, by group and name: /stats has them under "extra", and
	// /metrics as l3extract_GROUP_NAME. A value is a struct as the Stats of this module's
	// packages are: what is unsigned in it only grows. It must not wait. Default: nil.
	Extra func() map[string]any

	// Config returns what GET /config answers, in YAML and without secrets. Default: nil,
	// there is no such page.
	Config func() []byte

	// Version is shown in /stats and as a metric. Default: "".
	Version string

	// Token is asked for over TCP. Serve refuses a TCP listener without one. If it is set
	// it is asked for on unix sockets, too.
	Token string

	// Hosts are names, beside localhost and any IP address, that may stand in the Host of a
	// request. Default: none.
	Hosts []string

	// Pprof adds /debug/pprof/. Profiles show code and timing, not data. Default: off.
	Pprof bool

	// Logger gets refused requests, as warnings. Default: nil, silence.
	Logger *slog.Logger

	once    sync.Once
	started time.Time
	metrics http.Handler
}

// Bounds of what a client may ask for.
const (
	maxConns    = 32
	maxHeader   = 8 << 10
	maxTime     = 10 * time.Second // of reading a request
	maxAnswer   = 30 * time.Second // of answering it; profiles say themselves how long they take
	maxIdle     = time.Minute
	stopTimeout = time.Second
)

var errNoToken = errors.New("control: a TCP listener needs Server.Token")

// Serve answers on ln until ctx ends, and closes ln. It returns nil then, once no
// goroutine of it is left, and else the error of ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	_, unix := ln.Addr().(*net.UnixAddr)
	if !unix && s.Token == "" {
		_ = ln.Close()
		return errNoToken
	}
	s.init()
	srv := &http.Server{
		Handler:           s.handler(!unix),
		ReadHeaderTimeout: maxTime,
		ReadTimeout:       maxTime,
		WriteTimeout:      maxAnswer,
		IdleTimeout:       maxIdle,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // a client's mistakes
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { // awaited below
		defer close(ended)
		<-ctx.Done()
		late, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer done()
		if srv.Shutdown(late) != nil {
			_ = srv.Close()
		}
	}()
	err := srv.Serve(netutil.LimitListener(ln, maxConns))
	stopped := ctx.Err() != nil
	cancel()
	<-ended
	if stopped {
		return nil
	}
	return err
}

func (s *Server) init() {
	s.once.Do(func() {
		s.started = time.Now()
		s.metrics = s.newMetrics()
	})
}
