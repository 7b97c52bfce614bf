package ether

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l3extract/l3conn"
)

// inNetNS runs f on a thread in a fresh network namespace, which ends with it and with the
// taps that were opened there.
func inNetNS(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() { // awaited below
		runtime.LockOSThread() // never unlocked: nobody else shall have the thread
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skip("no network namespace: ", err)
	}
}

func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Errorf("ip %s: %v: %s", args, err, out)
	}
}

// TestTap: a tap says what happens to it in the words of l3conn, and carries frames both
// ways; the kernel at its other end is a guest that is answered.
func TestTap(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a tap in a namespace")
	}
	inNetNS(t, func() {
		tap, err := OpenTap("l3tap0")
		if err != nil {
			t.Error(err)
			return
		}
		defer tap.Close()
		if tap.Name() != "l3tap0" {
			t.Errorf("its name is %q", tap.Name())
		}
		if _, err := OpenTap("l3tap0"); !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), "another program") {
			t.Errorf("a second time: %v", err)
		}
		if _, err := OpenTap("lo"); err == nil || !strings.Contains(err.Error(), `tap "lo"`) {
			t.Errorf("lo: %v", err)
		}
		if _, err := OpenTap("a name that is too long"); err == nil {
			t.Error("a name that is too long")
		}
		frame := append(appendHeader(nil, broadcastMAC, guestMAC, 0x88cc), make([]byte, 46)...)
		if _, err := tap.Write(frame); err != l3conn.ErrDown {
			t.Errorf("Write while it is down: %v", err)
		}
		_ = tap.SetReadDeadline(time.Now().Add(-1))
		if _, err := tap.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read after the deadline: %v", err)
		}
		_ = tap.SetReadDeadline(time.Time{})

		conn, err := New(tap, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		got := make(chan []byte, 1)
		ended := make(chan error, 1)
		go func() { // ends with conn; awaited below
			b := make([]byte, 1500)
			for {
				n, err := conn.Read(b)
				if err != nil {
					ended <- err
					return
				}
				if n > 28 && b[9] == protoUDP {
					got <- bytes.Clone(b[28:n])
				}
			}
		}()
		ip(t, "link set l3tap0 up")
		ip(t, "addr add 192.168.127.9/24 dev l3tap0")
		c, err := net.Dial("udp", "192.168.127.1:7")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil { // waits for ARP
			t.Error(err)
		}
		select {
		case p := <-got:
			if string(p) != "hello" {
				t.Errorf("%q", p)
			}
		case <-time.After(patience):
			t.Errorf("no packet: %+v", conn.Stats())
		}
		ip(t, "link del l3tap0")
		select {
		case err := <-ended:
			if !errors.Is(err, syscall.ENODEV) {
				t.Errorf("Read after the interface has gone: %v", err)
			}
		case <-time.After(patience):
			t.Error("Read does not see that the interface has gone")
		}
		if err := errors.Join(conn.Close(), conn.Close()); err != nil {
			t.Error(err)
		}
		if _, err := tap.Read(make([]byte, 100)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read after Close: %v", err)
		}
	})
}
