package netstack

import (
	"fmt"
	"net"
	"syscall"
	"time"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
)

// option sets one of the engine's options. The engine refuses only what it does
// not know, so an error here is a mistake of ours or a bad value of the caller's.
func (e *Endpoint) option(name string, value any, err gtcpip.Error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %v: %w", name, value, translate(err))
}

// SetNoDelay switches Nagle's algorithm (RFC 9293, 3.7.4) off, or on with false.
func (e *Endpoint) SetNoDelay(on bool) { e.ep.SocketOptions().SetDelayOption(!on) }

// SetKeepAlive sets the probes as in net.KeepAliveConfig: zero durations and
// counts take the net package's defaults (15 s, 15 s, 9), negative ones leave
// the present value.
func (e *Endpoint) SetKeepAlive(c net.KeepAliveConfig) error {
	if c.Enable {
		set := func(name string, d time.Duration, opt func(time.Duration) gtcpip.SettableSocketOption) error {
			if d < 0 {
				return nil
			}
			if d == 0 {
				d = 15 * time.Second
			}
			return e.option(name, d, e.ep.SetSockOpt(opt(d)))
		}
		if err := set("keepalive idle", c.Idle, func(d time.Duration) gtcpip.SettableSocketOption {
			o := gtcpip.KeepaliveIdleOption(d)
			return &o
		}); err != nil {
			return err
		}
		if err := set("keepalive interval", c.Interval, func(d time.Duration) gtcpip.SettableSocketOption {
			o := gtcpip.KeepaliveIntervalOption(d)
			return &o
		}); err != nil {
			return err
		}
		if n := c.Count; n >= 0 {
			if n == 0 {
				n = 9
			}
			if err := e.option("keepalive count", n, e.ep.SetSockOptInt(gtcpip.KeepaliveCountOption, n)); err != nil {
				return err
			}
		}
	}
	e.ep.SocketOptions().SetKeepAlive(c.Enable)
	return nil
}

// SetUserTimeout sets how long sent data may stay unacknowledged before the
// connection ends with ETIMEDOUT (RFC 5482); 0 leaves it to the retransmission
// limit.
func (e *Endpoint) SetUserTimeout(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("user timeout %v: %w", d, syscall.EINVAL)
	}
	o := gtcpip.TCPUserTimeoutOption(d)
	return e.option("user timeout", d, e.ep.SetSockOpt(&o))
}

// SetHopLimit sets the TTL or hop limit of outgoing packets, 1 to 255.
func (e *Endpoint) SetHopLimit(n int) error {
	if n < 1 || n > 255 {
		return fmt.Errorf("hop limit %d: %w", n, syscall.EINVAL)
	}
	opt := gtcpip.IPv6HopLimitOption
	if e.remote.Addr().Is4() {
		opt = gtcpip.IPv4TTLOption
	}
	return e.option("hop limit", n, e.ep.SetSockOptInt(opt, n))
}

// SetTOS sets the TOS or traffic class of outgoing packets, 0 to 255.
func (e *Endpoint) SetTOS(n int) error {
	if n < 0 || n > 255 {
		return fmt.Errorf("TOS %d: %w", n, syscall.EINVAL)
	}
	opt := gtcpip.IPv6TrafficClassOption
	if e.remote.Addr().Is4() {
		opt = gtcpip.IPv4TOSOption
	}
	return e.option("TOS", n, e.ep.SetSockOptInt(opt, n))
}

// SetCongestion chooses the congestion control: "reno" or "cubic".
func (e *Endpoint) SetCongestion(name string) error {
	o := gtcpip.CongestionControlOption(name)
	return e.option("congestion control", name, e.ep.SetSockOpt(&o))
}

// SetReceiveBuffer sets the receive buffer in bytes. The window that the peer
// sees is half of it, and is never pulled back below what it was told.
func (e *Endpoint) SetReceiveBuffer(n int) {
	e.ep.SocketOptions().SetReceiveBufferSize(int64(n), true)
}

// ReceiveBuffer returns the receive buffer in bytes.
func (e *Endpoint) ReceiveBuffer() int {
	return int(e.ep.SocketOptions().GetReceiveBufferSize())
}

// SetSendBuffer sets how many bytes may be queued and unacknowledged, and ends
// the engine's own tuning of it.
func (e *Endpoint) SetSendBuffer(n int) {
	e.ep.SocketOptions().SetSendBufferSize(int64(n), true)
}

// SendBuffer returns how many bytes may be queued and unacknowledged.
func (e *Endpoint) SendBuffer() int {
	return int(e.ep.SocketOptions().GetSendBufferSize())
}
