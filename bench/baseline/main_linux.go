// Command baseline forwards TCP from a TUN that has no offload, as most programs
// began: the engine's own conns (gonet) behind its Forwarder, io.Copy each way, one
// packet per system call and goroutine wake-up. It is what bench/headtohead measures
// plain conns against; with -ours it is this library on the same TUN, through nothing
// but Read and Write.
//
//	baseline -tun l3x -mtu 1500 [-ours]
//
// It makes the interface, and serves until it is killed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"l3extract/adapters/direct"
	"l3extract/adapters/forward"
	"l3extract/l3conn/tun"
	"l3extract/stack"
)

func main() {
	name := flag.String("tun", "", "`name` of the interface")
	mtu := flag.Int("mtu", 1500, "its MTU in `bytes`")
	ours := flag.Bool("ours", false, "serve by this library, not by the engine's own conns")
	flag.Parse()
	if err := serve(*name, *mtu, *ours); err != nil {
		fmt.Fprintln(os.Stderr, "baseline:", err)
		os.Exit(1)
	}
}

func serve(name string, mtu int, ours bool) error {
	dev, err := tun.Open(&tun.Config{Name: name, MTU: mtu, NoOffload: true})
	if err != nil {
		return err
	}
	defer dev.Close()
	if ours {
		return extract(plain{dev}, mtu)
	}
	return engine(dev, mtu)
}

// plain hides what else a TUN can do.
type plain struct{ io.ReadWriter }

func extract(conn plain, mtu int) error {
	cfg := &stack.Config{MTU: mtu}
	cfg.TCP.LazyHandshake = true
	s, err := stack.New(conn, cfg)
	if err != nil {
		return err
	}
	s.TCP() // from here on flows wait for Serve
	failed := make(chan error, 1)
	go func() { failed <- (&forward.Server{Dialer: new(direct.Dialer)}).Serve(context.Background(), s) }()
	if err := s.Run(context.Background()); err != nil {
		return err
	}
	return <-failed
}
