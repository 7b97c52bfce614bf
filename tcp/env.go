package tcp

import (
	"io"
	"log/slog"

	"l3extract/internal/budget"
	"l3extract/internal/drop"
	"l3extract/internal/flow"
	"l3extract/internal/link"
	"l3extract/internal/netstack"
)

// Env is what package stack lends to the streams and acceptors of one stack.
// Nobody else can build one. Every field is set before the first use and never
// changed.
type Env struct {
	Flows  *flow.Registry
	Budget *budget.Budget
	Drops  *drop.Counters

	// Link says when streams should wait before they hand over more.
	Link interface {
		Congested() (<-chan struct{}, bool)
	}
	// Out takes the packets that are built outside the engine: RST, ICMP.
	Out link.Output

	Clock  netstack.Clock
	Rand   io.Reader
	Logger *slog.Logger // never nil
	MTU    int          // of the packet conn, in bytes

	Flushers *Flushers
	Closer   *Closer

	// Go runs f in a goroutine that the stack waits for before its Run returns.
	Go func(f func())
	// Done is closed when the stack has ended, Err then says why.
	Done <-chan struct{}
	Err  func() error
}
