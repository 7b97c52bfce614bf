package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// body is n bytes that are the same every time and do not repeat.
func body(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte([]byte("the body of the l3run e2e tests!"))), n)
}

// sumOf is the SHA-256 of what r holds.
func sumOf(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// serveBody answers HTTP on port 80 of the servers' addresses with size bytes.
func (w *world) serveBody(t *testing.T, size int64) {
	t.Helper()
	s := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.Copy(rw, body(size))
	})}
	for _, a := range []string{srv4, srv6} {
		ln := w.servers.listen(t, net.JoinHostPort(a, "80"))
		go s.Serve(ln) // ended by Close below
	}
	t.Cleanup(func() { s.Close() })
}

// serveDNS answers queries for www.test with the servers' addresses, anything
// else with NXDOMAIN. UDP answers for big.test are truncated. It returns how to
// learn what was asked.
func (w *world) serveDNS(t *testing.T) (asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var names []string
	answer := func(q []byte, overTCP bool) []byte {
		reply, name := answerDNS(q, overTCP)
		mu.Lock()
		defer mu.Unlock()
		names = append(names, name)
		return reply
	}
	pc := w.servers.listenPacket(t, net.JoinHostPort(srv4, "53"))
	go func() { // ended by Close of pc
		b := make([]byte, 65535)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(answer(b[:n], false), from)
		}
	}()
	ln := w.servers.listen(t, net.JoinHostPort(srv4, "53"))
	go func() { // ended by Close of ln
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serveDNSStream(c, answer)
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), names...)
	}
}

func serveDNSStream(c net.Conn, answer func([]byte, bool) []byte) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	var size [2]byte
	for {
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		q := make([]byte, int(size[0])<<8|int(size[1]))
		if _, err := io.ReadFull(c, q); err != nil {
			return
		}
		a := answer(q, true)
		_, _ = c.Write(append([]byte{byte(len(a) >> 8), byte(len(a))}, a...))
	}
}

func answerDNS(query []byte, overTCP bool) (reply []byte, name string) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil, "?"
	}
	q := m.Questions[0]
	name = q.Name.String()
	m.Additionals = nil
	m.Response, m.RecursionAvailable = true, true
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
	switch {
	case name == "big.test." && !overTCP:
		m.Truncated = true
	case name != "www.test." && name != "big.test.":
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: head,
			Body: &dnsmessage.AResource{A: netip.MustParseAddr(srv4).As4()}})
	case q.Type == dnsmessage.TypeAAAA:
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: head,
			Body: &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(srv6).As16()}})
	}
	reply, err := m.Pack()
	if err != nil {
		return nil, name
	}
	return reply, name
}

// serveSum reads each connection to its end and answers with the SHA-256 of what
// came.
func (w *world) serveSum(t *testing.T, address string) {
	t.Helper()
	ln := w.servers.listen(t, address)
	go func() { // ended by Close of ln
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			h := sha256.New()
			if _, err = io.Copy(h, c); err == nil {
				_, err = fmt.Fprintf(c, "%x\n", h.Sum(nil))
			}
			_ = errors.Join(err, c.Close())
		}
	}()
}

// waitFor tries until try is done, because a server that was just started says
// by nothing but its port that it is ready.
func waitFor(t *testing.T, what string, try func() bool) {
	t.Helper()
	const patience = 20 * time.Second
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !try(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for ", what)
		}
	}
}

// waitPort waits until something listens at address in n.
func (n netns) waitPort(t *testing.T, address string) {
	t.Helper()
	waitFor(t, address, func() bool {
		var err error
		n.do(t, func() error {
			var c net.Conn
			if c, err = net.Dial("tcp", address); err == nil {
				c.Close()
			}
			return nil
		})
		return err == nil
	})
}

// lines are the non-empty lines of s.
func lines(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '\n' })
}
