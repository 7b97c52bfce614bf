package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// A connection begins with one byte that says what it is for.
const (
	modeEcho    = 'e' // one byte back for each
	modeUp      = 'u' // takes a number (uint64) and the pattern until the end
	modeResult  = 'r' // for a number, sends the count (uint64) and the verdict (byte) of its modeUp or load of datagrams
	modeDown    = 'd' // sends the pattern for so many milliseconds (uint32)
	modeFetch   = 'f' // sends pageSize bytes and the end
	modeTrickle = 't' // sends trickleSize bytes each trickleEvery
	modeHashed  = 'h' // takes hashedSize bytes, sends their SHA-256, sends them back
)

const (
	hashedSize = 32 << 20
	chunk      = 256 << 10 // of one Read or Write
)

// serve is the server's role.
func serve() error {
	// The address is that of the first destination, so that answers come from it.
	datagrams, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(serverNet + "1"), Port: portNumber})
	if err != nil {
		return err
	}
	if err := roomy(datagrams); err != nil {
		return err
	}
	ln, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		return err
	}
	failed := make(chan error, 3) // the process ends with the first
	go func() { failed <- answerDatagrams(datagrams) }()
	go func() { failed <- serveQUIC() }()
	go func() { failed <- accept(ln, answer) }()
	return <-failed
}

func accept(ln net.Listener, handle func(c *net.TCPConn)) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go handle(c.(*net.TCPConn)) // ends with the connection
	}
}

// answer serves one connection. Errors are the client's to notice.
func answer(c *net.TCPConn) {
	defer c.Close()
	mode := make([]byte, 1)
	if _, err := io.ReadFull(c, mode); err != nil {
		return
	}
	switch mode[0] {
	case modeEcho:
		for err := error(nil); err == nil; {
			if _, err = c.Write(mode); err == nil {
				_, err = io.ReadFull(c, mode)
			}
		}
	case modeUp:
		var id uint64
		if binary.Read(c, binary.BigEndian, &id) == nil {
			n, right := check(c)
			result(id) <- verdict(uint64(n), right)
		}
	case modeResult:
		var id uint64
		if binary.Read(c, binary.BigEndian, &id) == nil {
			answerResult(c, id)
		}
	case modeDown:
		var ms uint32
		if binary.Read(c, binary.BigEndian, &ms) == nil {
			if _, err := produce(c, time.Duration(ms)*time.Millisecond); err == nil {
				_ = c.CloseWrite()
			}
		}
	case modeFetch:
		_, _ = c.Write(pattern[:pageSize])
	case modeTrickle:
		trickle(c)
	case modeHashed:
		sum := sha256.New()
		if _, err := io.CopyN(sum, c, hashedSize); err == nil {
			_, _ = c.Write(sum.Sum(nil))
			_, _ = c.Write(hashed())
		}
	}
}

// results are those of modeUp by number. They are asked for on a connection of their
// own, because not every program passes the end of one direction on.
var results sync.Map

const resultTime = 10 * time.Second

func result(id uint64) chan []byte {
	r, _ := results.LoadOrStore(id, make(chan []byte, 1))
	return r.(chan []byte)
}

func answerResult(c *net.TCPConn, id uint64) {
	if t, ok := tallies.get(id); ok {
		_, _ = c.Write(verdict(t.count, !t.wrong))
		return
	}
	select {
	case r := <-result(id):
		_, _ = c.Write(r)
	case <-time.After(resultTime):
	}
}

// verdict is the answer of modeResult.
func verdict(n uint64, right bool) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	if right {
		return append(b, 1)
	}
	return append(b, 0)
}

// hashed is the data of modeHashed.
func hashed() []byte { return bytes.Repeat(pattern, hashedSize/len(pattern)+1)[:hashedSize] }

// ledger holds the tallies of the loads, by number.
type ledger struct {
	mu sync.Mutex
	m  map[uint64]tally
}

var tallies = ledger{m: make(map[uint64]tally)}

func (l *ledger) get(id uint64) (tally, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.m[id]
	return t, ok
}

// update changes the tally of a load, and tells whether there was none before.
func (l *ledger) update(id uint64, f func(t *tally)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.m[id]
	f(&t)
	l.m[id] = t
	return !ok
}

// answerDatagrams serves datagrams. What it cannot send it drops, as UDP does.
func answerDatagrams(c *net.UDPConn) error {
	return receive(c, func(b []byte, from net.Addr) {
		switch {
		case len(b) == 0:
		case b[0] == datagramEcho:
			_, _ = c.WriteTo(b, from)
		case b[0] == datagramUp:
			l, right := parseDatagram(b)
			tallies.update(l.id, func(t *tally) { t.count++; t.wrong = t.wrong || !right })
		case b[0] == datagramDown && len(b) == datagramHeader:
			id := binary.BigEndian.Uint64(b[1:])
			perSecond, ms := binary.BigEndian.Uint32(b[9:]), binary.BigEndian.Uint32(b[13:])
			if !tallies.update(id, func(*tally) {}) {
				return // asked for again, since the answer was not there yet
			}
			go func() { // ends when the load does
				sent, _ := load{datagramDown, id}.send(c, from, int(perSecond), time.Duration(ms)*time.Millisecond)
				tallies.update(id, func(t *tally) { t.count = sent })
			}()
		}
	})
}
