package reject

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"l3extract/adapters/internal/hop"
)

// Answer is what a client sees.
type Answer int

// The answers.
const (
	Refused    Answer = iota // RST, or ICMP "port unreachable": nobody listens there
	Prohibited               // ICMP "administratively prohibited"
	Silence                  // nothing, until the client gives up
)

// String returns "refused", "prohibited" or "silence".
func (a Answer) String() string {
	switch a {
	case Refused:
		return "refused"
	case Prohibited:
		return "prohibited"
	case Silence:
		return "silence"
	}
	return fmt.Sprintf("answer %d", int(a))
}

// MarshalText implements encoding.TextMarshaler.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Answer) UnmarshalText(text []byte) error {
	for _, known := range []Answer{Refused, Prohibited, Silence} {
		if known.String() == string(text) {
			*a = known
			return nil
		}
	}
	return fmt.Errorf("reject: the answer is %q, %q or %q, not %q", Refused, Prohibited, Silence, text)
}

// Dialer refuses everything, at once. The zero Dialer answers Refused.
type Dialer struct {
	Answer Answer // default: Refused
}

// DialContext returns the error that makes a Server of adapters/forward give the
// Answer: ECONNREFUSED, EACCES or ETIMEDOUT in a *net.OpError.
func (d *Dialer) DialContext(_ context.Context, network, address string) (net.Conn, error) {
	return nil, hop.OpError("dial", network, address, d.err())
}

// ListenPacket returns an error as DialContext does.
func (d *Dialer) ListenPacket(_ context.Context, network, address string) (net.PacketConn, error) {
	return nil, hop.OpError("listen", network, address, d.err())
}

func (d *Dialer) err() error {
	errno := syscall.ECONNREFUSED
	switch d.Answer {
	case Prohibited:
		errno = syscall.EACCES
	case Silence:
		errno = syscall.ETIMEDOUT
	}
	return &rejected{errno}
}

// rejected says who did it.
type rejected struct{ errno syscall.Errno }

func (r *rejected) Error() string   { return "rejected by configuration" }
func (r *rejected) Unwrap() error   { return r.errno }
func (r *rejected) Timeout() bool   { return r.errno == syscall.ETIMEDOUT }
func (r *rejected) Temporary() bool { return false }
