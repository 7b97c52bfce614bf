package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// The load of a crowd of clients: connections on which little comes all the time,
// sockets that say a word now and then, and short connections, of which a quarter go
// where nobody answers.
const (
	crowdDials = 200 // a second
	crowdDead  = 4   // every so many-th dial

	trickleEvery = 250 * time.Millisecond
	trickleSize  = 625 // with trickleEvery 20 kbit/s

	deadFirst, deadHosts = 240, 14     // the last byte of the addresses where nobody answers
	deadTime             = time.Second // after which a client gives such a dial up
)

// A page is so many fetches over connections of their own, so many at a time.
const (
	pageFetches = 20
	pageAtOnce  = 6
	pageSize    = 8 << 10               // of one fetch
	pagePause   = 20 * time.Millisecond // between pages
)

// pages loads pages for so long. Count are the pages; the quantiles are of a page, and
// of the time that it takes to be connected.
func pages(o *order) (outcome, error) {
	var page, connected []time.Duration
	for end := time.Now().Add(o.For); time.Now().Before(end); time.Sleep(pagePause) {
		var mu sync.Mutex
		var g errgroup.Group
		g.SetLimit(pageAtOnce)
		begun := time.Now()
		for i := range pageFetches {
			g.Go(func() error {
				took, err := o.fetch(i)
				mu.Lock()
				connected = append(connected, took)
				mu.Unlock()
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return outcome{}, err
		}
		page = append(page, time.Since(begun))
	}
	slices.Sort(page)
	slices.Sort(connected)
	return outcome{
		Count: int64(len(page)), P50: page[len(page)/2], P95: page[len(page)*95/100],
		Connected: connected[len(connected)*95/100],
	}, nil
}

// fetch gets one piece of a page and returns how long connecting took.
func (o *order) fetch(i int) (time.Duration, error) {
	begun := time.Now()
	c, err := o.dial(i, modeFetch, destinations)
	took := time.Since(begun)
	if err != nil {
		return took, err
	}
	defer c.Close()
	n, err := io.Copy(io.Discard, c)
	if err == nil && n != pageSize {
		err = fmt.Errorf("%w: %d bytes of a page's piece", errWrong, n)
	}
	return took, err
}

// crowd is the load. It says when all of it is there, and goes on until its standard
// input ends. Sent are the short connections to those who answer, Count those that were
// answered; Bytes is what came on the others.
func crowd(o *order) (outcome, error) {
	var trickled atomic.Int64
	if err := o.trickles(&trickled); err != nil {
		return outcome{}, err
	}
	sockets, err := o.sockets()
	if err != nil {
		return outcome{}, err
	}
	var stopped atomic.Bool
	var sent, count atomic.Int64
	var all sync.WaitGroup
	all.Go(func() { // until stopped
		const parts = 100 // of a second
		word := []byte{datagramEcho}
		every(time.Second/parts, &stopped, func(i int) {
			for k := i % parts; k < len(sockets); k += parts {
				_, _ = unix.Write(sockets[k], word) // what has no room is lost, as in any network
			}
		})
	})
	all.Go(func() { // until stopped
		every(time.Second/crowdDials, &stopped, func(i int) {
			all.Go(func() { // bounded by the time-outs of a connection
				if i%crowdDead == 0 {
					d := net.Dialer{Timeout: deadTime}
					if c, err := d.Dial("tcp4", fmt.Sprintf("%s%d:%s", o.Network, deadFirst+i/crowdDead%deadHosts, port)); err == nil {
						_ = c.Close() // of a program that answers for others
					}
					return
				}
				sent.Add(1)
				if exchange(o, i) == nil {
					count.Add(1)
				}
			})
		})
	})
	fmt.Println("open")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	stopped.Store(true)
	all.Wait()
	answered := int64(0)
	for _, fd := range sockets {
		for b := make([]byte, 1); ; answered++ {
			if _, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT); err != nil {
				break
			}
		}
	}
	return outcome{Sent: sent.Load(), Count: count.Load(), Bytes: trickled.Load(), Datagrams: answered}, nil
}

// every calls f at a steady rate; what is late is made up for.
func every(d time.Duration, stopped *atomic.Bool, f func(i int)) {
	begun := time.Now()
	for i := 0; !stopped.Load(); i++ {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * d)))
		f(i)
	}
}

// trickles opens the connections on which little comes. They end with the process.
func (o *order) trickles(came *atomic.Int64) error {
	var g errgroup.Group
	g.SetLimit(openers)
	for i := range o.Streams {
		g.Go(func() error {
			c, err := o.dial(i, modeTrickle, destinations)
			if err != nil {
				return err
			}
			go func() { // ends with the connection
				b := make([]byte, trickleSize)
				for {
					n, err := c.Read(b)
					came.Add(int64(n))
					if err != nil {
						return
					}
				}
			}()
			return nil
		})
	}
	return g.Wait()
}

// sockets opens those that say a word now and then: of the kernel's own, since nobody
// waits for an answer.
func (o *order) sockets() (fds []int, err error) {
	to := &unix.SockaddrInet4{Port: portNumber, Addr: [4]byte(net.ParseIP(o.Network + "1").To4())}
	for range o.Sockets {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err == nil {
			err = unix.Connect(fd, to)
		}
		if err != nil {
			return nil, errors.Join(errors.New("a socket of the crowd"), err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// trickle is the server's part: it sends a little until the client goes.
func trickle(c *net.TCPConn) {
	tick := time.NewTicker(trickleEvery)
	defer tick.Stop()
	for range tick.C {
		if _, err := c.Write(pattern[:trickleSize]); err != nil {
			return
		}
	}
}
