package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// A connection begins with one byte that says what it is for.
const (
	modeEcho   = 'e' // one byte back for each
	modeUp     = 'u' // takes a number (uint64) and the pattern until the end
	modeResult = 'r' // for a number, sends the count and the verdict of its modeUp
	modeDown   = 'd' // sends the pattern for so many milliseconds (uint32)
	modeHashed = 'h' // takes hashedSize bytes, sends their SHA-256, sends them back
)

const (
	hashedSize = 32 << 20
	chunk      = 256 << 10 // of one Read or Write
)

// pattern is what is moved, over and over; twice, so that a chunk of it may begin
// anywhere. Its length is prime, so that no lost packet goes unnoticed.
var pattern = func() []byte {
	const size = 1_000_003
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return append(b, b...)
}()

func patternAt(offset int64) []byte { return pattern[offset%int64(len(pattern)/2):] }

// serve is the server's role.
func serve() error {
	ln, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		return err
	}
	return accept(ln, answer)
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
			result(id) <- append(binary.BigEndian.AppendUint64(nil, uint64(n)), verdict(right))
		}
	case modeResult:
		var id uint64
		if binary.Read(c, binary.BigEndian, &id) == nil {
			select {
			case r := <-result(id):
				_, _ = c.Write(r)
			case <-time.After(resultTime):
			}
		}
	case modeDown:
		var ms uint32
		if binary.Read(c, binary.BigEndian, &ms) == nil {
			_, _ = produce(c, time.Duration(ms)*time.Millisecond)
		}
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

func verdict(right bool) byte {
	if right {
		return 1
	}
	return 0
}

// hashed is the data of modeHashed.
func hashed() []byte { return bytes.Repeat(pattern, hashedSize/len(pattern)+1)[:hashedSize] }

// produce writes the pattern for so long, and the end.
func produce(c *net.TCPConn, d time.Duration) (int64, error) {
	var sent int64
	for end := time.Now().Add(d); time.Now().Before(end); {
		n, err := c.Write(patternAt(sent)[:chunk])
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
	return sent, c.CloseWrite()
}

// check reads the pattern to the end, and tells how much there was and whether
// every byte was right.
func check(c *net.TCPConn) (int64, bool) {
	buf := make([]byte, chunk)
	for got := int64(0); ; {
		n, err := c.Read(buf)
		if !bytes.Equal(buf[:n], patternAt(got)[:n]) {
			return got, false
		}
		got += int64(n)
		if err != nil {
			return got, err == io.EOF
		}
	}
}

// proxy is the role of the plain copying proxy: it dials the server's address with
// the last byte of the address that was dialled.
func proxy() error {
	ln, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		return err
	}
	return accept(ln, func(c *net.TCPConn) {
		defer c.Close()
		dialled := c.LocalAddr().(*net.TCPAddr)
		to := *dialled
		to.IP = net.IPv4(10, 98, 1, dialled.IP.To4()[3])
		up, err := net.DialTCP("tcp4", nil, &to)
		if err != nil {
			_ = c.SetLinger(0)
			return
		}
		defer up.Close()
		back := make(chan struct{})
		go func() { // awaited below
			copyTo(c, up)
			close(back)
		}()
		copyTo(up, c)
		<-back
	})
}

// copyTo copies with a buffer, as a proxy must that looks at what it passes on; the
// types hide that these are sockets, which io.Copy would splice.
func copyTo(dst, src *net.TCPConn) {
	_, _ = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, 64<<10))
	_ = dst.CloseWrite()
}
