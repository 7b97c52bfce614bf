package framed

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"l3extract/l3conn"
)

// reads starts a goroutine that reads until an error, which it reports.
func reads(c *Conn) <-chan error {
	done := make(chan error, 1)
	go func() { // ends with the conn
		_, err := readAll(c, true)
		done <- err
	}()
	return done
}

// TestKeepalive: frames are sent when nothing else is, and keep both ends alive for
// as long as both are there.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		a := mustNew(t, x, Config{Keepalive: 10 * time.Second})
		b := mustNew(t, y, Config{Keepalive: 10 * time.Second, PeerTimeout: 25 * time.Second})
		ra, rb := reads(a), reads(b)
		time.Sleep(time.Hour + time.Second) // a moment between two keepalives
		synctest.Wait()
		for _, c := range []*Conn{a, b} {
			if s := c.Stats(); s.KeepalivesOut < 359 || s.KeepalivesIn < 359 || s.KeepalivesOut > 361 {
				t.Errorf("%+v in an hour", s)
			}
		}
		before := a.Stats().KeepalivesOut
		for range 100 { // who speaks need not say that it is there
			if _, err := a.Write(packet(1, 20)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(9 * time.Second)
		}
		if got := a.Stats().KeepalivesOut; got != before {
			t.Errorf("%d keepalives among packets", got-before)
		}
		a.Close()
		if err := <-ra; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if err := <-rb; err != io.EOF {
			t.Error(err)
		}
	})
}

// TestSilentPeer: a peer that is there and says nothing ends the conn.
func TestSilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		go io.Copy(io.Discard, y) // ends with y
		defer y.Close()
		c := mustNew(t, x, Config{Keepalive: 10 * time.Second})
		start := time.Now()
		err := <-reads(c)
		if took := time.Since(start); took < 40*time.Second || took > 51*time.Second {
			t.Errorf("after %v", took)
		}
		if !errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, os.ErrDeadlineExceeded) || l3conn.Transient(err) {
			t.Error(err)
		}
		if _, err := c.Write(packet(1, 20)); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Error("Write:", err)
		}
	})
}

// TestSilentAndStuckPeer: nor does a peer that reads nothing hold the conn up, with
// a keepalive half sent.
func TestSilentAndStuckPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer y.Close()
		c := mustNew(t, x, Config{Keepalive: time.Second, PeerTimeout: time.Minute})
		if err := <-reads(c); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Error(err)
		}
	})
}

// TestNobodyReads: an end that has no time to read does not call its peer dead.
func TestNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer y.Close()
		c := mustNew(t, x, Config{PeerTimeout: time.Second})
		time.Sleep(time.Hour)
		go y.Write(frames(Big16, packet(1, 20))) // ends with the Read below
		if n, err := c.Read(make([]byte, 100)); n != 20 || err != nil {
			t.Error(n, err)
		}
	})
}

// TestSlowLinkBlocks: Writes wait for the link, nothing is lost, and Close or a
// deadline ends the wait.
func TestSlowLinkBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		c := mustNew(t, x, Config{})
		var sent []byte
		done := make(chan error, 1)
		go func() { // ends with its packets
			for i := range 50 {
				p := packet(i, 1000)
				sent = append(sent, frames(Big16, p)...)
				if n, err := c.WriteBatch([][]byte{p}); n != 1 {
					done <- err
					return
				}
			}
			done <- nil
		}()
		got := make([]byte, 50*1002)
		for at := 0; at < len(got); {
			time.Sleep(time.Second)
			n, err := y.Read(got[at:min(at+700, len(got))])
			if err != nil {
				t.Fatal(err)
			}
			at += n
		}
		if err := <-done; err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%v, or other bytes", err)
		}

		if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Write(packet(1, 100)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(n, err)
		}
		_ = c.SetWriteDeadline(time.Time{})
		go func() { // ends with Close
			_, err := c.Write(packet(1, 100))
			done <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}
