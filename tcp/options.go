package tcp

import (
	"fmt"
	"net"
	"syscall"
	"time"

	"l3extract/internal/netstack"
)

// option runs set on the endpoint of an open stream whose handshake is done.
func (s *Stream) option(set func(ep *netstack.Endpoint) error) error {
	if p := s.dead.Load(); p != nil {
		return s.opError(opSet, *p)
	}
	ep := s.ep.Load()
	if ep == nil {
		return s.opError(opSet, fmt.Errorf("handshake not done: %w", syscall.ENOTCONN))
	}
	return s.opError(opSet, set(ep))
}

// SetNoDelay switches Nagle's algorithm (RFC 9293, 3.7.4) off, which it is by
// default, or on with false. It has nothing to do with the write buffer.
func (s *Stream) SetNoDelay(noDelay bool) error {
	return s.option(func(ep *netstack.Endpoint) error { ep.SetNoDelay(noDelay); return nil })
}

// SetKeepAlive switches keepalive probes on, as configured or by the defaults of
// net.KeepAliveConfig, or off.
func (s *Stream) SetKeepAlive(on bool) error {
	idle := max(keepAliveTime(s.cfg, s.dialed), 0)
	return s.SetKeepAliveConfig(net.KeepAliveConfig{Enable: on, Idle: idle, Interval: idle})
}

// SetKeepAlivePeriod sets the idle time and the interval of keepalive probes.
func (s *Stream) SetKeepAlivePeriod(d time.Duration) error {
	return s.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: d, Interval: d, Count: -1})
}

// SetKeepAliveConfig sets the keepalive probes as for a net.TCPConn.
func (s *Stream) SetKeepAliveConfig(c net.KeepAliveConfig) error {
	return s.option(func(ep *netstack.Endpoint) error { return ep.SetKeepAlive(c) })
}

// SetUserTimeout ends the stream with ETIMEDOUT when bytes that were sent stay
// unacknowledged for d (RFC 5482); 0 leaves it to the number of retransmissions.
func (s *Stream) SetUserTimeout(d time.Duration) error {
	return s.option(func(ep *netstack.Endpoint) error { return ep.SetUserTimeout(d) })
}

// SetHopLimit sets the TTL or hop limit of outgoing packets, 1 to 255.
func (s *Stream) SetHopLimit(n int) error {
	return s.option(func(ep *netstack.Endpoint) error { return ep.SetHopLimit(n) })
}

// SetTOS sets the TOS or traffic class of outgoing packets, 0 to 255.
func (s *Stream) SetTOS(n int) error {
	return s.option(func(ep *netstack.Endpoint) error { return ep.SetTOS(n) })
}

// SetLinger sets what Close does with bytes that the peer has not acknowledged, as
// for a net.TCPConn: with sec < 0, the default, it waits for them in the background
// for Config.CloseTimeout, with sec > 0 for so many seconds, and with 0 Close drops
// them and sends a RST, as Reset does.
func (s *Stream) SetLinger(sec int) error {
	if p := s.dead.Load(); p != nil {
		return s.opError(opSet, *p)
	}
	s.mu.Lock()
	s.abortOn = sec == 0
	s.linger = time.Duration(max(sec, 0)) * time.Second
	s.mu.Unlock()
	return nil
}

// Sizes that a buffer may be set to, in bytes.
const minBuffer = 4 << 10

// SetReadBuffer sets the receive buffer in bytes, 4 KiB to 8 MiB, and ends its
// tuning; the window that the peer sees is half of it. It fails with ENOBUFS beyond
// the stack's memory limit.
func (s *Stream) SetReadBuffer(bytes int) error {
	return s.option(func(ep *netstack.Endpoint) error {
		s.tuneMu.Lock()
		defer s.tuneMu.Unlock()
		bytes = min(max(bytes, minBuffer), maxBuffer)
		if !s.resizeLocked(&s.rbuf, bytes) {
			return fmt.Errorf("receive buffer of %d bytes: %w", bytes, syscall.ENOBUFS)
		}
		s.rfixed = true
		ep.SetReceiveBuffer(bytes)
		return nil
	})
}

// SetWriteBuffer sets the send buffer in bytes, 4 KiB to 8 MiB: how much may be sent
// and not yet acknowledged, or wait for that. It ends its tuning, and has nothing to
// do with Config.WriteBuffer. It fails with ENOBUFS beyond the stack's memory limit.
func (s *Stream) SetWriteBuffer(bytes int) error {
	return s.option(func(ep *netstack.Endpoint) error {
		s.tuneMu.Lock()
		defer s.tuneMu.Unlock()
		bytes = min(max(bytes, minBuffer), maxBuffer)
		if !s.resizeLocked(&s.sbuf, bytes) {
			return fmt.Errorf("send buffer of %d bytes: %w", bytes, syscall.ENOBUFS)
		}
		s.sfixed = true
		ep.SetSendBuffer(bytes)
		return nil
	})
}
