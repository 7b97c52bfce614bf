package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// refusal is a reason for which a message was not believed.
type refusal int

const (
	wrongServer   refusal = iota // made for another public key than ours, or for none
	stranger                     // a handshake with a key that no peer has, or a forgery
	replayed                     // a handshake that was there already
	tooMany                      // more handshakes of one peer than anybody needs
	unverified                   // a flood: the sender had to show that it is where it says
	badResponse                  // an answer to no question of ours
	badCookie                    // a cookie that is none
	foreignSource                // a packet from an address that is not the peer's
	refusals
)

var refusalNames = [refusals]string{
	"wrong server key", "unknown peer or wrong key", "replayed handshake", "too many handshakes of a peer",
	"handshake flood", "unasked response", "wrong cookie", "source is not the peer's",
}

// said is what wireguard-go says when it refuses something. Its words are those of
// the version in go.mod; TestRefusals fails when they change.
var said = map[string]refusal{
	"Received packet with invalid mac1":                           wrongServer,
	"Received invalid initiation message from %s":                 stranger,
	"%v - ConsumeMessageInitiation: handshake replay @ %v":        replayed,
	"%v - ConsumeMessageInitiation: handshake flood":              tooMany,
	"Sending cookie response for denied handshake message for %v": unverified,
	"Received invalid response message from %s":                   badResponse,
	"Could not decrypt invalid cookie response":                   badCookie,
	"IPv4 packet with disallowed source address from %v":          foreignSource,
	"IPv6 packet with disallowed source address from %v":          foreignSource,
}

const (
	saidInitiation = "%v - Received handshake initiation"
	saidResponse   = "%v - Received handshake response"
	saidKeepalive  = "%v - Receiving keepalive packet"
)

// watch turns what wireguard-go says into counts and few lines. It is called on
// goroutines that packets need, so the lines are written by one of its own, from a
// bounded queue; a line that finds it full is lost, as its count is not.
type watch struct {
	c      *counts
	logger *slog.Logger
	lines  chan func()           // cap 64; what finds it full is lost
	due    [refusals]atomic.Bool // a line about it may be written again
	names  map[string]string     // of peers, by what wireguard-go calls them
	where  func(peer string) string
}

func newWatch(cfg *config, c *counts, logger *slog.Logger) *watch {
	w := &watch{c: c, logger: logger, lines: make(chan func(), 64), names: make(map[string]string)}
	for _, p := range cfg.peers {
		w.names[shortName(p.public)] = fmt.Sprint(p.allowed)
	}
	return w
}

// shortName is what wireguard-go calls a peer.
func shortName(public key) string {
	k := public.String()
	return "peer(" + k[:4] + "…" + k[39:43] + ")"
}

// device is the logger that wireguard-go gets.
func (w *watch) device() *device.Logger {
	return &device.Logger{Verbosef: w.verbose, Errorf: func(format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		w.say(func() { w.logger.Warn("wireguard", "says", line) })
	}}
}

func (w *watch) verbose(format string, args ...any) {
	switch format {
	case saidInitiation, saidResponse:
		w.c.completed.Add(1)
		peer := fmt.Sprint(args...)
		w.say(func() {
			w.logger.Info("handshake", "peer", peer, "allowed", w.names[peer], "from", w.where(peer))
		})
		return
	case saidKeepalive:
		w.c.keepalives.Add(1)
		return
	}
	why, ok := said[format]
	if !ok {
		return
	}
	n := w.c.refused[why].Add(1)
	if why == foreignSource {
		w.c.foreign.Add(1)
	}
	if n > 1 && !w.due[why].CompareAndSwap(true, false) {
		return
	}
	who := fmt.Sprint(args...)
	w.say(func() { w.logger.Warn("refused", "why", refusalNames[why], "times", n, "last", who) })
}

// say has a line written.
func (w *watch) say(line func()) {
	select {
	case w.lines <- line:
	default:
	}
}

// quiet is how long a refusal that goes on is not told again.
const quiet = time.Minute

// run writes lines until ctx ends.
func (w *watch) run(ctx context.Context) {
	again := time.NewTicker(quiet)
	defer again.Stop()
	for {
		select {
		case line := <-w.lines:
			line()
		case <-again.C:
			for i := range w.due {
				w.due[i].Store(true)
			}
		case <-ctx.Done():
			for len(w.lines) > 0 {
				(<-w.lines)()
			}
			return
		}
	}
}
