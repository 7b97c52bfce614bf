//go:build !linux

package direct

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
)

func (d *Dialer) listenPing(context.Context, string) (net.PacketConn, error) {
	return nil, fmt.Errorf("direct: pings need Linux, not %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
