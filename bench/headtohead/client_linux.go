package main

import (
	"bufio"
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
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// order is what a client is started to do, as JSON in its argument.
type order struct {
	Do      string // one of clients
	Network string // the destinations' first three bytes
	Streams int    // at once
	Sockets int    // of a crowd
	Stages  []int  // of idle: how many connections there are to be, in turn
	Rate    int    // of datagrams, a second
	From    string // the client's own address; empty: the kernel chooses
	For     time.Duration

	Pinned    bool // to Processor
	Processor int
}

// outcome is what it answers, as JSON on its standard output.
type outcome struct {
	Bytes int64 // moved and right
	Count int64 // connections made, exchanges, or datagrams that arrived
	Sent  int64 // datagrams
	Took  time.Duration
	P50   time.Duration // of an exchange, or a page
	P95   time.Duration // of a page
	P99   time.Duration // of an exchange

	Connected time.Duration // p95 of connecting
	Datagrams int64         // answers to a crowd
}

// clients is what a client can do.
var clients = map[string]func(*order) (outcome, error){
	"reach": reach, "hash": hash, "up": up, "down": down, "both": both, "connect": connect, "echo": echo, "idle": idle,
	"pages": pages, "crowd": crowd,
	"datagram echo": datagramsEcho, "datagrams up": datagramsUp, "datagrams down": datagramsDown, "quic down": quicDown,
}

// destinations is how many addresses short connections go to.
const destinations = 16

// patience is how much longer than it should take an exchange may take.
const patience = 8 * time.Second

// dial opens the i-th connection of a client and says what it is for.
func (o *order) dial(i int, mode byte, to int) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: -1}
	if o.From != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(o.From)}
	}
	c, err := d.Dial("tcp4", fmt.Sprintf("%s%d:%s", o.Network, 1+i%to, port))
	if err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte{mode}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c.(*net.TCPConn), c.SetDeadline(time.Now().Add(o.For + patience))
}

// client is the client's role.
func client(arg string) error {
	var o order
	if err := json.Unmarshal([]byte(arg), &o); err != nil {
		return err
	}
	do := clients[o.Do]
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
		err = fmt.Errorf("%w: another SHA-256", errWrong)
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
func (o *order) result(i int, id uint64) (n int64, right bool, err error) {
	c, err := o.dial(i, modeResult, 1)
	if err != nil {
		return 0, false, err
	}
	defer c.Close()
	reply := make([]byte, 9)
	if err = binary.Write(c, binary.BigEndian, id); err == nil {
		_, err = io.ReadFull(c, reply)
	}
	return int64(binary.BigEndian.Uint64(reply)), reply[8] == 1, err
}

func up(o *order) (outcome, error)   { return o.bulk(o.upload) }
func down(o *order) (outcome, error) { return o.bulk(o.download) }

// both is half of the streams each way.
func both(o *order) (outcome, error) {
	return o.bulk(func(i int) (int64, error) {
		if i%2 == 0 {
			return o.upload(i)
		}
		return o.download(i)
	})
}

func (o *order) bulk(stream func(i int) (int64, error)) (outcome, error) {
	var total atomic.Int64
	err := o.each(func(i int) error {
		n, err := stream(i)
		total.Add(n)
		return err
	})
	return outcome{Bytes: total.Load()}, err
}

func (o *order) upload(i int) (int64, error) {
	c, err := o.dial(i, modeUp, 1)
	if err != nil {
		return 0, err
	}
	defer c.Close() // again is harmless
	id := rand.Uint64()
	if err := binary.Write(c, binary.BigEndian, id); err != nil {
		return 0, err
	}
	sent, err := produce(c, o.For)
	if err = errors.Join(err, c.Close()); err != nil {
		return 0, err
	}
	got, right, err := o.result(i, id)
	if err == nil && (got != sent || !right) {
		err = fmt.Errorf("%w: sent %d bytes, of which %d arrived unharmed", errWrong, sent, got)
	}
	return sent, err
}

func (o *order) download(i int) (int64, error) {
	c, err := o.dial(i, modeDown, 1)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := binary.Write(c, binary.BigEndian, uint32(o.For.Milliseconds())); err != nil {
		return 0, err
	}
	got, right := check(c)
	if !right {
		return 0, fmt.Errorf("%w: only %d bytes arrived unharmed", errWrong, got)
	}
	return got, nil
}

// errWrong ends a visit.
var errWrong = errors.New("wrong data")

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
	return exchanges(o.For, func() error {
		if _, err := c.Write(b); err != nil {
			return err
		}
		_, err := io.ReadFull(c, b)
		return err
	})
}

// exchanges times f, over and over for so long.
func exchanges(d time.Duration, f func() error) (outcome, error) {
	var took []time.Duration
	for begun, end := time.Now(), time.Now().Add(d); begun.Before(end); {
		if err := f(); err != nil {
			return outcome{}, err
		}
		now := time.Now()
		took = append(took, now.Sub(begun))
		begun = now
	}
	slices.Sort(took)
	return outcome{Count: int64(len(took)), P50: took[len(took)/2], P99: took[len(took)*99/100]}, nil
}

// idle opens connections until there are as many as a stage wants, says so, and goes
// on when it is told to by a line. The last stage lasts until its standard input ends.
func idle(o *order) (outcome, error) {
	conns := make([]*net.TCPConn, slices.Max(o.Stages))
	told, open := bufio.NewScanner(os.Stdin), 0
	for _, want := range o.Stages {
		var g errgroup.Group
		g.SetLimit(openers)
		for ; open < want; open++ {
			i := open
			g.Go(func() error {
				c, err := o.dial(i, modeEcho, destinations)
				if err == nil {
					_, err = io.ReadFull(c, make([]byte, 1))
				}
				conns[i] = c
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return outcome{}, err
		}
		fmt.Println("open")
		told.Scan()
	}
	runtime.KeepAlive(conns) // closed by the end of the process
	return outcome{Count: int64(open)}, told.Err()
}

// openers is how many idle connections are opened at a time.
const openers = 8
