package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// A datagram begins with one byte that says what it is for. Those of a load have a
// header behind it: the number of the load (uint64) and their own (uint64), which
// says which part of the pattern follows.
const (
	datagramEcho = 'e' // comes back as it is
	datagramUp   = 'u' // is counted
	datagramDown = 'd' // has, behind the load's number, how many a second (uint32) for how many milliseconds (uint32)
)

const (
	datagramSize   = 1200
	datagramHeader = 17
	batchSize      = 32      // datagrams moved by one system call
	socketBuffer   = 8 << 20 // so that what is lost is lost on the way, not at its end
)

// load numbers the datagrams of one transfer.
type load struct {
	mode byte
	id   uint64
}

// fill makes b the n-th datagram.
func (l load) fill(b []byte, n uint64) {
	b[0] = l.mode
	binary.BigEndian.PutUint64(b[1:], l.id)
	binary.BigEndian.PutUint64(b[9:], n)
	copy(b[datagramHeader:], patternAt(int64(n) * datagramSize)[:datagramSize-datagramHeader])
}

// parseDatagram reads a datagram of a load; right tells whether it is what was sent.
func parseDatagram(b []byte) (l load, right bool) {
	if len(b) != datagramSize {
		return load{}, false
	}
	n := binary.BigEndian.Uint64(b[9:])
	if n > 1<<40 {
		return load{}, false
	}
	want := patternAt(int64(n) * datagramSize)[:datagramSize-datagramHeader]
	return load{b[0], binary.BigEndian.Uint64(b[1:])}, bytes.Equal(b[datagramHeader:], want)
}

// send sends perSecond datagrams for so long and returns how many they were. When it
// is late it catches up a few milliseconds at most; then they are fewer.
func (l load) send(c *net.UDPConn, to net.Addr, perSecond int, d time.Duration) (uint64, error) {
	const (
		pause  = 200 * time.Microsecond
		behind = 4 * time.Millisecond
	)
	batch := make([]ipv4.Message, batchSize)
	for i := range batch {
		batch[i] = ipv4.Message{Buffers: [][]byte{make([]byte, datagramSize)}, Addr: to}
	}
	p := ipv4.NewPacketConn(c)
	begun, sent, given := time.Now(), uint64(0), uint64(0) // given up: those that were too late
	for {
		now := time.Since(begun)
		if now >= d {
			return sent, nil
		}
		due := uint64(now.Seconds()*float64(perSecond)) - given
		if late := uint64(behind.Seconds() * float64(perSecond)); due > sent+late {
			given += due - sent - late
			due = sent + late
		}
		for sent < due {
			some := batch[:min(batchSize, due-sent)]
			for i := range some {
				l.fill(some[i].Buffers[0], sent+uint64(i))
			}
			n, err := p.WriteBatch(some, 0)
			if err != nil {
				return sent, err
			}
			sent += uint64(n)
		}
		t := unix.NsecToTimespec(int64(pause))
		_ = unix.Nanosleep(&t, nil) // the runtime's timers are no finer than a millisecond
	}
}

// tally counts the datagrams of a load.
type tally struct {
	count uint64
	wrong bool // one was not what was sent
}

// receive hands batches of datagrams to each until the conn fails; a deadline that
// passes is no failure.
func receive(c *net.UDPConn, each func(b []byte, from net.Addr)) error {
	batch := make([]ipv4.Message, batchSize)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, 2*datagramSize)}
	}
	p := ipv4.NewPacketConn(c)
	for {
		n, err := p.ReadBatch(batch, 0)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, unix.ECONNREFUSED):
			continue // an ICMP message about an earlier one
		case err != nil:
			return err
		}
		for _, m := range batch[:n] {
			each(m.Buffers[0][:m.N], m.Addr)
		}
	}
}

// roomy gives a socket large buffers.
func roomy(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	ctl := raw.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer),
		)
	})
	return errors.Join(ctl, err)
}
