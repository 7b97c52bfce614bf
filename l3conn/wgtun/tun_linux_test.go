package wgtun

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"l3extract/l3conn"
	"l3extract/stack"
)

// TestSystemDevice: a TUN interface that wireguard-go's package has opened, with its
// offloads, carries a Stack, and the kernel at the other end agrees on every byte.
func TestSystemDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip(err)
	}
	done := make(chan struct{})
	go func() { // awaited below
		defer close(done)
		runtime.LockOSThread() // never unlocked: nobody else shall have the thread
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		systemDevice(t)
	}()
	<-done
}

// systemDevice runs on a thread in a namespace of its own.
func systemDevice(t *testing.T) {
	dev, err := tun.CreateTUN("wgtun0", 1420)
	if err != nil {
		t.Error(err)
		return
	}
	c, err := FromTUN(dev)
	if err != nil {
		t.Error(err, dev.Close())
		return
	}
	defer c.Close()
	if c.BatchSize() == 1 || l3conn.Probe(c).ReadDeadliner == nil {
		t.Errorf("batches of %d, deadlines %v", c.BatchSize(), l3conn.Probe(c).ReadDeadliner)
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader("addr add 198.18.0.1/24 dev wgtun0\nlink set wgtun0 up\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("ip: %v\n%s", err, out)
		return
	}
	s, err := stack.New(c, nil)
	if err != nil {
		t.Error(err)
		return
	}
	ln, err := s.Listen(context.Background(), "tcp", ":7")
	if err != nil {
		t.Error(err)
		return
	}
	var all sync.WaitGroup
	all.Go(func() { // the Stack; awaited below
		if err := s.Run(context.Background()); err != nil {
			t.Error(err)
		}
	})
	all.Go(func() { // the server; ends with the connection or the Stack
		server, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, server); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(server, "%x", sum.Sum(nil))
	})
	client, err := net.DialTimeout("tcp4", "198.18.0.7:7", 10*time.Second) // any address
	if err != nil {
		t.Error(err)
	} else {
		sent := pump(t, client, *bulk<<20)
		if said, err := io.ReadAll(client); string(said) != fmt.Sprintf("%x", sent) || err != nil {
			t.Errorf("SHA-256 %x sent, %s received, %v", sent, said, err)
		}
		client.Close()
	}
	_ = s.Close()
	all.Wait()
	if err := c.SetReadDeadline(time.Now()); err != nil { // it is its owner's again
		t.Error(err)
	}
}
