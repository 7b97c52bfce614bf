package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"

	"l3extract/l3conn"
	"l3extract/l3conn/ether"
)

// place is the address of a URL, as package net has it.
func place(u *url.URL) string {
	if u.Scheme == "unix" || u.Scheme == "unixgram" {
		return u.Path
	}
	return u.Host
}

// listen waits for streams of qemu at u. Nobody but this user may open a Unix socket.
func listen(ctx context.Context, u *url.URL) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, u.Scheme, place(u))
	if errors.Is(err, syscall.EADDRINUSE) && u.Scheme == "unix" && abandoned(u) {
		l, err = config.Listen(ctx, u.Scheme, place(u))
	}
	if err != nil || u.Scheme != "unix" {
		return l, err
	}
	if err := os.Chmod(u.Path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// abandoned removes the socket of a process that has ended without doing so.
func abandoned(u *url.URL) bool {
	c, err := net.Dial(u.Scheme, u.Path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED) && os.Remove(u.Path) == nil
}

// grams opens the socket that qemu sends datagrams to.
func grams(u *url.URL, peer string) (l3conn.Conn, error) {
	var to net.Addr
	var err error
	if u.Scheme == "udp" {
		to, err = net.ResolveUDPAddr("udp", peer)
	} else {
		to, err = net.ResolveUnixAddr("unixgram", peer)
	}
	if err != nil {
		return nil, fmt.Errorf("-peer: %w", err)
	}
	if u.Scheme == "unixgram" {
		if i, err := os.Lstat(u.Path); err == nil && i.Mode().Type() == os.ModeSocket && !inUse(u) {
			_ = os.Remove(u.Path)
		}
	}
	pc, err := (&net.ListenConfig{}).ListenPacket(context.Background(), u.Scheme, place(u))
	if err != nil {
		return nil, err
	}
	if u.Scheme == "unixgram" {
		if err := os.Chmod(u.Path, 0o600); err != nil {
			return nil, errors.Join(err, pc.Close())
		}
	}
	c, err := ether.Datagram(pc, to)
	if err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	return c, nil
}

func inUse(u *url.URL) bool {
	c, err := net.Dial(u.Scheme, u.Path)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}
