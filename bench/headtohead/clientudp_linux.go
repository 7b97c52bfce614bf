package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// dialDatagrams opens a socket to the first destination.
func (o *order) dialDatagrams() (*net.UDPConn, error) {
	c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(o.Network + "1"), Port: portNumber})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(roomy(c), c.SetDeadline(time.Now().Add(o.For+patience))); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// How long to wait for a datagram, and for how many in vain.
const (
	datagramTime = 500 * time.Millisecond
	datagramLost = 10
)

// datagramsEcho times a datagram there and back. What is lost is sent again, and not
// counted.
func datagramsEcho(o *order) (outcome, error) {
	c, err := o.dialDatagrams()
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()
	b, lost := make([]byte, 1), 0
	again := func() error {
		for {
			b[0] = datagramEcho
			if _, err := c.Write(b); err != nil {
				return err
			}
			if err := c.SetReadDeadline(time.Now().Add(datagramTime)); err != nil {
				return err
			}
			_, err := c.Read(b)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
			if lost++; lost == datagramLost {
				return fmt.Errorf("%d datagrams were not answered", lost)
			}
		}
	}
	if err := again(); err != nil { // the first one makes the way
		return outcome{}, err
	}
	return exchanges(o.For, again)
}

// datagramsUp sends a load and asks what arrived.
func datagramsUp(o *order) (outcome, error) {
	c, err := o.dialDatagrams()
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()
	l := load{datagramUp, rand.Uint64()}
	sent, err := l.send(c, nil, o.Rate, o.For)
	if err != nil {
		return outcome{}, err
	}
	time.Sleep(datagramTime) // for those that are on their way
	got, right, err := o.result(0, l.id)
	return o.arrived(int64(sent), got, right, err)
}

// datagramsDown asks for a load and counts what arrives.
func datagramsDown(o *order) (outcome, error) {
	c, err := o.dialDatagrams()
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()
	id := rand.Uint64()
	ask := binary.BigEndian.AppendUint64([]byte{datagramDown}, id)
	ask = binary.BigEndian.AppendUint32(ask, uint32(o.Rate))
	ask = binary.BigEndian.AppendUint32(ask, uint32(o.For.Milliseconds()))
	var got tally
	for range datagramLost {
		if _, err := c.Write(ask); err != nil {
			return outcome{}, err
		}
		// The deadline is the time by which all have been sent.
		if err := c.SetReadDeadline(time.Now().Add(o.For + datagramTime)); err != nil {
			return outcome{}, err
		}
		if err := receive(c, func(b []byte, _ net.Addr) {
			l, right := parseDatagram(b)
			if right = right && l.id == id; right {
				got.count++
			}
			got.wrong = got.wrong || !right
		}); err != nil {
			return outcome{}, err
		}
		if got.count > 0 {
			break
		}
	}
	sent, _, err := o.result(0, id)
	return o.arrived(sent, int64(got.count), !got.wrong, err)
}

func (o *order) arrived(sent, got int64, right bool, err error) (outcome, error) {
	if err == nil && (!right || got > sent) {
		err = fmt.Errorf("%w: of %d datagrams sent %d arrived, not all of them unharmed", errWrong, sent, got)
	}
	return outcome{Sent: sent, Count: got, Bytes: got * datagramSize}, err
}
