package outbound

import (
	"context"
	"net"
)

// EarlyDialer is a Dialer that can do without its proxy's answer. DialEarly returns as
// soon as the proxy has been asked: what is written to the connection follows the
// request, and the first Read waits for the answer. If that is a refusal, Read and all
// later calls return what DialContext would have, a *net.OpError whose Op is "dial". ctx
// is for the request only; the dialer's own time-out is for the answer.
type EarlyDialer interface {
	Dialer
	DialEarly(ctx context.Context, network, address string) (net.Conn, error)
}
