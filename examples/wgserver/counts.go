package main

import (
	"encoding/binary"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// counts is what wireguard-go was given and what it made of it. It counts nothing
// itself, and what it does not believe (a replay, a forgery, what has an old key) it
// passes over in silence: that is what came less what was taken.
type counts struct {
	handshakes atomic.Uint64 // messages that begin or answer one
	cookies    atomic.Uint64
	transport  atomic.Uint64 // messages with data, or keepalives
	unknown    atomic.Uint64 // anything else

	packets    atomic.Uint64 // that came out of them
	keepalives atomic.Uint64
	foreign    atomic.Uint64 // whose source is not the peer's
	completed  atomic.Uint64 // handshakes that were believed
	refused    [refusals]atomic.Uint64
}

// rejected is how many messages with data were not believed, but for what is under
// way.
func (c *counts) rejected() uint64 {
	taken := c.packets.Load() + c.keepalives.Load() + c.foreign.Load()
	if came := c.transport.Load(); came > taken {
		return came - taken
	}
	return 0
}

// handshakesLost is how many messages of handshakes found no room in a flood, but for
// what is under way.
func (c *counts) handshakesLost() uint64 {
	taken := c.completed.Load()
	for _, why := range []refusal{wrongServer, stranger, unverified, badResponse} { // one for each message
		taken += c.refused[why].Load()
	}
	if came := c.handshakes.Load(); came > taken {
		return came - taken
	}
	return 0
}

// countedBind is a Bind that counts what it receives, by the kind of message.
type countedBind struct {
	conn.Bind
	c *counts
}

// Open implements conn.Bind.
func (b countedBind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	receive, port, err := b.Bind.Open(port)
	for i, f := range receive {
		receive[i] = func(bufs [][]byte, sizes []int, from []conn.Endpoint) (int, error) {
			n, err := f(bufs, sizes, from)
			for i, size := range sizes[:n] {
				if size > 0 {
					b.c.message(bufs[i][:size])
				}
			}
			return n, err
		}
	}
	return receive, port, err
}

func (c *counts) message(b []byte) {
	if len(b) < device.MinMessageSize {
		c.unknown.Add(1)
		return
	}
	switch kind := binary.LittleEndian.Uint32(b); {
	case kind == device.MessageTransportType:
		c.transport.Add(1)
	case kind == device.MessageInitiationType && len(b) == device.MessageInitiationSize,
		kind == device.MessageResponseType && len(b) == device.MessageResponseSize:
		c.handshakes.Add(1)
	case kind == device.MessageCookieReplyType && len(b) == device.MessageCookieReplySize:
		c.cookies.Add(1)
	default:
		c.unknown.Add(1)
	}
}

// countedTUN is a tun.Device that counts what wireguard-go has decrypted.
type countedTUN struct {
	tun.Device
	c *counts
}

// Write implements tun.Device.
func (t countedTUN) Write(bufs [][]byte, offset int) (int, error) {
	t.c.packets.Add(uint64(len(bufs)))
	return t.Device.Write(bufs, offset)
}
