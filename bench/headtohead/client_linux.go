package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// order is what a client is started to do, as JSON in its argument.
type order struct {
	Do      string // "reach", "hash", "up", "down", "connect", "echo", "idle"
	Network string // the destinations' first three bytes
	Streams int    // at once
	For     time.Duration

	Pinned    bool // to Processor
	Processor int
}

// outcome is what it answers, as JSON on its standard output.
type outcome struct {
	Bytes int64 // moved and right
	Count int64 // connections made, or bytes echoed
	Took  time.Duration
	P50   time.Duration // of an exchange
	P99   time.Duration
}

// destinations is how many addresses short connections go to.
const destinations = 16

// dial opens the i-th connection of a client and says what it is for.
func (o *order) dial(i int, mode byte, to int) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: -1}
	c, err := d.Dial("tcp4", fmt.Sprintf("%s%d:%s", o.Network, 1+i%to, port))
	if err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte{mode}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c.(*net.TCPConn), c.SetDeadline(time.Now().Add(o.For + 20*time.Second))
}

// client is the client's role.
func client(arg string) error {
	var o order
	if err := json.Unmarshal([]byte(arg), &o); err != nil {
		return err
	}
	do := map[string]func(*order) (outcome, error){
		"reach": reach, "hash": hash, "up": up, "down": down, "connect": connect, "echo": echo, "idle": idle,
	}[o.Do]
	if do == nil {
		return fmt.Errorf("no client does %q", o.Do)
	}
	if o.Pinned {
		if err := pin(os.Getpid(), o.Processor); err != nil {
			return err
		}
	}
	begun := time.Now()
	r, err := do(&o)
	if err != nil {
		return err
	}
	r.Took = time.Since(begun)
	return json.NewEncoder(os.Stdout).Encode(r)
}

// reach waits until the way to the server is there.
func reach(o *order) (outcome, error) {
	for end := time.Now().Add(o.For); ; time.Sleep(50 * time.Millisecond) {
		err := exchange(o, 0)
		if err == nil || time.Now().After(end) {
			return outcome{}, err
		}
	}
}

// exchange is one short connection.
func exchange(o *order, i int) error {
	c, err := o.dial(i, modeEcho, destinations)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return errors.Join(err, c.Close())
}

// hash moves data both ways and compares SHA-256.
func hash(o *order) (outcome, error) {
	c, err := o.dial(0, modeHashed, 1)
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()
	data := hashed()
	want, got, sum := sha256.Sum256(data), [sha256.Size]byte{}, sha256.New()
	if _, err = c.Write(data); err == nil {
		_, err = io.ReadFull(c, got[:])
	}
	if err == nil {
		_, err = io.CopyN(sum, c, hashedSize)
	}
	if err == nil && (want != got || !bytes.Equal(want[:], sum.Sum(nil))) {
		err = errors.New("wrong SHA-256")
	}
	return outcome{Bytes: 2 * hashedSize}, err
}

// each runs f for every stream at once.
func (o *order) each(f func(i int) error) error {
	var g errgroup.Group
	for i := range o.Streams {
		g.Go(func() error { return f(i) })
	}
	return g.Wait()
}

// result asks the server what arrived of an upload.
func (o *order) result(i int, id uint64) ([]byte, error) {
	c, err := o.dial(i, modeResult, 1)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	reply := make([]byte, 9)
	if err = binary.Write(c, binary.BigEndian, id); err == nil {
		_, err = io.ReadFull(c, reply)
	}
	return reply, err
}

func up(o *order) (outcome, error) {
	var total atomic.Int64
	err := o.each(func(i int) error {
		c, err := o.dial(i, modeUp, 1)
		if err != nil {
			return err
		}
		defer c.Close() // again is harmless
		id := rand.Uint64()
		if err := binary.Write(c, binary.BigEndian, id); err != nil {
			return err
		}
		sent, err := produce(c, o.For)
		if err = errors.Join(err, c.Close()); err != nil {
			return err
		}
		reply, err := o.result(i, id)
		if err != nil {
			return err
		}
		if got := int64(binary.BigEndian.Uint64(reply)); got != sent || reply[8] != verdict(true) {
			return fmt.Errorf("sent %d bytes, of which %d arrived unharmed", sent, got)
		}
		total.Add(sent)
		return nil
	})
	return outcome{Bytes: total.Load()}, err
}

func down(o *order) (outcome, error) {
	var total atomic.Int64
	err := o.each(func(i int) error {
		c, err := o.dial(i, modeDown, 1)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := binary.Write(c, binary.BigEndian, uint32(o.For.Milliseconds())); err != nil {
			return err
		}
		got, right := check(c)
		if !right {
			return fmt.Errorf("only %d bytes arrived unharmed", got)
		}
		total.Add(got)
		return nil
	})
	return outcome{Bytes: total.Load()}, err
}

// connect makes short connections, one after another on each stream.
func connect(o *order) (outcome, error) {
	var count atomic.Int64
	end := time.Now().Add(o.For)
	err := o.each(func(i int) error {
		for ; time.Now().Before(end); i++ {
			if err := exchange(o, i); err != nil {
				return err
			}
			count.Add(1)
		}
		return nil
	})
	return outcome{Count: count.Load()}, err
}

// echo times a byte there and back.
func echo(o *order) (outcome, error) {
	c, err := o.dial(0, modeEcho, 1)
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()
	b := make([]byte, 1)
	if _, err := io.ReadFull(c, b); err != nil {
		return outcome{}, err
	}
	var took []time.Duration
	for end := time.Now().Add(o.For); ; {
		begun := time.Now()
		if _, err := c.Write(b); err != nil {
			return outcome{}, err
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return outcome{}, err
		}
		now := time.Now()
		took = append(took, now.Sub(begun))
		if now.After(end) {
			break
		}
	}
	slices.Sort(took)
	return outcome{Count: int64(len(took)), P50: took[len(took)/2], P99: took[len(took)*99/100]}, nil
}

// idle opens connections, says so, and keeps them until its standard input ends.
func idle(o *order) (outcome, error) {
	conns := make([]*net.TCPConn, o.Streams)
	for i := range conns {
		c, err := o.dial(i, modeEcho, destinations)
		if err != nil {
			return outcome{}, err
		}
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return outcome{}, err
		}
		conns[i] = c
	}
	fmt.Println("open")
	_, err := io.Copy(io.Discard, os.Stdin)
	return outcome{Count: int64(len(conns))}, err
}
