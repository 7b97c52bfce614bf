package tcp

import (
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Config is the TCP part of a stack's configuration. The zero value of every
// field is its default; a negative value switches the thing off, where that
// makes sense. A Config is copied when the stack is built and never changed.
//
//	Field                      Default      Negative
//	LazyHandshake              false        -
//	Admit                      nil, all     -
//	HandshakeTimeout           10 s         the engine's limit, some 127 s
//	DecideTimeout              30 s         none
//	AcceptQueue                2048         an error
//	MaxHandshakes              2048         none
//	MaxHandshakesPerSource     1024         none
//	MaxHandshakesPerDestination  64         none
//	MaxStreams                 65536        none
//	MaxStreamsPerSource        none         none
//	MaxStreamsPerDestination   none         none
//	WriteBuffer                16 KiB       none
//	MaxReceiveBuffer           4 MiB        buffers keep their first size
//	MaxSendBuffer              4 MiB        buffers keep their first size
//	CloseTimeout               30 s         none
//	TimeWait                   0            an error
//	Congestion                 Reno         -
//	Recovery                   SACK         -
//	KeepAlive                  off          off
//	DialKeepAlive              15 s         off
//	UserTimeout                off          off
//	HopLimit                   64           an error
//	TrafficClass               0            an error
type Config struct {
	// LazyHandshake makes AcceptStream and Streams hand out a Stream on its
	// SYN, before anything was answered; Stream.Handshake answers it and
	// Stream.Reject refuses it. Accept returns established streams all the
	// same. Default: false, the handshake comes first.
	LazyHandshake bool

	// Admit judges every SYN that asks for a new stream, from the client src
	// for dst. It runs on the goroutine that reads the packet conn, so it must
	// not wait, and it may be called at once. Default: nil, Accept for all.
	Admit func(src, dst netip.AddrPort) Verdict

	// HandshakeTimeout bounds the time from the answer to a SYN to the end of
	// its handshake; then the stream is reset. Default: 10 s. Negative: the
	// engine gives up by itself after some 127 s.
	HandshakeTimeout time.Duration

	// DecideTimeout bounds how long a stream handed out on its SYN may stay
	// without Handshake or Reject; then it ends with ETIMEDOUT and its client
	// is not answered. It is also how long a silent rejection is remembered.
	// Default: 30 s. Negative: no bound, and a silent rejection is remembered
	// for as long as there is room.
	DecideTimeout time.Duration

	// AcceptQueue is how many streams may wait to be accepted, those in their
	// handshake included: a place is reserved before a SYN is answered. With
	// none free a SYN is dropped and counted. An eighth is kept for sources
	// that hold fewer than 16. Each listener has a queue of its own.
	// Default: 2048. It should not be less than MaxHandshakes.
	AcceptQueue int

	// MaxHandshakes bounds the SYNs being decided or answered, in the whole
	// stack. With none free a SYN is dropped and counted. An eighth is kept for
	// sources that hold fewer than 16. Default: 2048. Negative: no limit.
	MaxHandshakes int

	// MaxHandshakesPerSource is the part of MaxHandshakes that one source key
	// may hold. Default: 1024. Negative: no limit.
	MaxHandshakesPerSource int

	// MaxHandshakesPerDestination is the part of MaxHandshakes that may be
	// under way to one destination address and port; an eighth of it is kept
	// for sources that hold fewer than 16 handshakes. It keeps dead
	// destinations from using up a single source's share. Default: 64.
	// Negative: no limit.
	MaxHandshakesPerDestination int

	// MaxStreams bounds the streams that are accepted, open or being decided,
	// in the whole stack. Beyond it a SYN is refused (RST) and counted. An
	// eighth is kept for sources that hold fewer than 16. Default: 65536.
	// Negative: no limit.
	MaxStreams int

	// MaxStreamsPerSource is the part of MaxStreams that one source key may
	// hold. Default, and negative: no limit.
	MaxStreamsPerSource int

	// MaxStreamsPerDestination is the part of MaxStreams that may go to one
	// destination address and port. Default, and negative: no limit.
	MaxStreamsPerDestination int

	// WriteBuffer is how many bytes of small writes a stream collects before
	// they are sent together, in bytes. Default: 16 KiB. Negative: none, every
	// Write goes to the engine.
	WriteBuffer int

	// MaxReceiveBuffer is the size in bytes up to which a stream's receive
	// buffer may grow as long as the stack's memory limit allows; the window a
	// peer sees is half of it. Default: 4 MiB. Negative: it keeps its first
	// size, 64 KiB.
	MaxReceiveBuffer int

	// MaxSendBuffer is the size in bytes up to which a stream's send buffer may
	// grow as long as the stack's memory limit allows. Default: 4 MiB.
	// Negative: it keeps its first size, 64 KiB.
	MaxSendBuffer int

	// CloseTimeout bounds how long a closed stream waits for its peer to
	// acknowledge the last bytes; then it is reset and what was lost is
	// counted. Default: 30 s. Negative: no bound.
	CloseTimeout time.Duration

	// TimeWait is how long an end that closed first keeps its addresses and
	// ports in TIME-WAIT (RFC 9293, 3.4.1); until then a new SYN on them is
	// ignored. Default: 0, right for a client on the same machine.
	TimeWait time.Duration

	// Congestion is the congestion control of new streams. Default: Reno.
	Congestion Congestion

	// Recovery is how the stack finds out that segments were lost. Default: SACK.
	Recovery Recovery

	// KeepAlive is the idle time and the interval of keepalive probes on
	// accepted streams. Default, and negative: none.
	KeepAlive time.Duration

	// DialKeepAlive is the idle time and the interval of keepalive probes on
	// dialled streams. Default: 15 s. Negative: none.
	DialKeepAlive time.Duration

	// UserTimeout ends a stream with ETIMEDOUT when bytes sent stay
	// unacknowledged for so long (RFC 5482). Default, and negative: off, the
	// number of retransmissions decides.
	UserTimeout time.Duration

	// HopLimit is the TTL or hop limit of packets sent, 1 to 255. Default: 64.
	HopLimit int

	// TrafficClass is the TOS or traffic class of packets sent, 0 to 255.
	// Default: 0.
	TrafficClass int
}

// Congestion names a congestion control.
type Congestion uint8

// The congestion controls. Reno is the default because over the grid of bench/lossgrid
// neither is ahead: with RACK it reaches 0.89 of the best in the mean of the rows, CUBIC
// 0.88, and each falls below 0.8 in three of twelve. Reno does on a clean path of 1 ms to
// a peer without DSACK (0.64) and where 50 ms leave it little time to grow again (0.59,
// 0.77), CUBIC where 1 % is lost (0.69, 0.73, 0.75). For a long fat path choose CUBIC, but
// on 64-bit systems only: the engine's window has no bound, and in hours without a loss
// could outgrow 32 bits.
const (
	Reno  Congestion = iota // NewReno, RFC 6582
	Cubic                   // CUBIC, RFC 9438
)

// String returns the name that the engine knows, "reno" or "cubic".
func (c Congestion) String() string {
	switch c {
	case Reno:
		return "reno"
	case Cubic:
		return "cubic"
	}
	return fmt.Sprintf("Congestion(%d)", uint8(c))
}

// Recovery names a way to tell lost segments from late ones.
type Recovery uint8

// The ways of loss detection. Where packets are lost or reordered within 1 ms RACK
// brings 2 to 7 times what SACK alone does, and within 50 ms about as much
// (bench/lossgrid). But the engine's RACK does not get over the loss of all that is in
// flight, as when a phone changes its network: it takes what it has lost for in flight,
// and sends two segments for each time-out from then on. After a second in which nothing
// passed a download that SACK ends in half a second stood at 200 KB in 15 s. So SACK is
// the default, and RACK is for links that lose but never break.
const (
	SACK Recovery = iota // three acknowledgements beyond it, RFC 6675
	RACK                 // time, and a probe of the tail, RFC 8985
)

// String returns "rack" or "sack".
func (r Recovery) String() string {
	switch r {
	case RACK:
		return "rack"
	case SACK:
		return "sack"
	}
	return fmt.Sprintf("Recovery(%d)", uint8(r))
}

// Resolved checks c, which may be nil, and returns a copy in which every field
// says what it means: defaults are filled in, and what is switched off is
// negative, or zero for the timers that are off by default. Only package stack
// has a use for it.
func (c *Config) Resolved() (Config, error) {
	var r Config
	if c != nil {
		r = *c
	}
	if err := r.validate(); err != nil {
		return Config{}, err
	}
	r.defaults()
	return r, nil
}

// defaultHandshakes is the default of MaxHandshakes.
const defaultHandshakes = 2048

// defaults fills in what was left at zero.
func (c *Config) defaults() {
	set(&c.HandshakeTimeout, 10*time.Second)
	set(&c.DecideTimeout, 30*time.Second)
	set(&c.AcceptQueue, 2048)
	set(&c.MaxHandshakes, defaultHandshakes)
	set(&c.MaxHandshakesPerSource, 1024)
	set(&c.MaxHandshakesPerDestination, 64)
	set(&c.MaxStreams, 65536)
	set(&c.MaxStreamsPerSource, -1)
	set(&c.MaxStreamsPerDestination, -1)
	set(&c.WriteBuffer, 16<<10)
	set(&c.MaxReceiveBuffer, 4<<20)
	set(&c.MaxSendBuffer, 4<<20)
	set(&c.CloseTimeout, 30*time.Second)
	set(&c.KeepAlive, -1)
	set(&c.DialKeepAlive, 15*time.Second)
	set(&c.UserTimeout, -1)
	set(&c.HopLimit, 64)
}

func set[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// maxBuffer is the most a buffer may be, in bytes: beyond it the engine's
// window scale (RFC 7323, 2.3) has no room.
const maxBuffer = 8 << 20

// validate refuses values that mean nothing. It sees the fields as the user
// wrote them.
func (c *Config) validate() error {
	for _, f := range []struct {
		name     string
		val      int
		min, max int
	}{
		{"AcceptQueue", c.AcceptQueue, 0, 1 << 20},
		{"MaxHandshakes", c.MaxHandshakes, math.MinInt, 1 << 24},
		{"MaxHandshakesPerSource", c.MaxHandshakesPerSource, math.MinInt, 1 << 24},
		{"MaxHandshakesPerDestination", c.MaxHandshakesPerDestination, math.MinInt, 1 << 24},
		{"MaxStreams", c.MaxStreams, math.MinInt, 1 << 24},
		{"MaxStreamsPerSource", c.MaxStreamsPerSource, math.MinInt, 1 << 24},
		{"MaxStreamsPerDestination", c.MaxStreamsPerDestination, math.MinInt, 1 << 24},
		{"WriteBuffer", c.WriteBuffer, math.MinInt, 1 << 20},
		{"MaxReceiveBuffer", c.MaxReceiveBuffer, math.MinInt, maxBuffer},
		{"MaxSendBuffer", c.MaxSendBuffer, math.MinInt, maxBuffer},
		{"HopLimit", c.HopLimit, 0, 255},
		{"TrafficClass", c.TrafficClass, 0, 255},
		{"Congestion", int(c.Congestion), 0, int(Cubic)},
		{"Recovery", int(c.Recovery), 0, int(RACK)},
	} {
		if f.val < f.min || f.val > f.max {
			return fmt.Errorf("tcp: Config.%s is %d, %s", f.name, f.val, allowed(f.min, f.max))
		}
	}
	for _, f := range []struct {
		name     string
		val      time.Duration
		min, max time.Duration
	}{
		{"HandshakeTimeout", c.HandshakeTimeout, math.MinInt64, time.Hour},
		{"DecideTimeout", c.DecideTimeout, math.MinInt64, time.Hour},
		{"CloseTimeout", c.CloseTimeout, math.MinInt64, 24 * time.Hour},
		{"TimeWait", c.TimeWait, 0, 10 * time.Minute},
		{"KeepAlive", c.KeepAlive, math.MinInt64, 24 * time.Hour},
		{"DialKeepAlive", c.DialKeepAlive, math.MinInt64, 24 * time.Hour},
		{"UserTimeout", c.UserTimeout, math.MinInt64, 24 * time.Hour},
	} {
		if f.val < f.min || f.val > f.max {
			return fmt.Errorf("tcp: Config.%s is %v, %s", f.name, f.val, allowed(f.min, f.max))
		}
	}
	return nil
}

// allowed says what a field may be; a lowest value of the type is none.
func allowed[T int | time.Duration](low, high T) string {
	if low >= 0 {
		return fmt.Sprintf("must be %v to %v", low, high)
	}
	return fmt.Sprintf("must be at most %v", high)
}
