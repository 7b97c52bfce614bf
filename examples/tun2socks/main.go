// Command tun2socks forwards what a host sends into a TUN interface: every TCP
// connection and UDP conversation in its packets is dialled out. It takes the
// flags that people know from other programs of its name:
//
//	tun2socks -device tun://tun0 -mtu 1500 -proxy direct:// -interface eth0
//
// It opens the interface, or makes it, and leaves addresses and routes to whoever
// starts it. For now the only proxy is direct://: flows leave by this host's own
// routes, by -interface, or with the mark -fwmark. One of the two keeps them from
// coming back into the TUN where that is the default route.
//
// SIGTERM and SIGINT end it: no new flows are taken, those that are open have
// -drain to finish, and it exits with 0. A second signal ends it at once.
//
// On Linux with more than two processors, -workers N shares the interface out to N
// processes of one thread each. The kernel gives each connection to one of them, and
// every UDP address pair to one: what a client sends to different hosts may leave by
// different upstream ports.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	oneThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// oneThread keeps a small machine's relay on one thread: with up to two processors
// waking another thread for each packet costs 20 to 40 % more than it brings. Only
// a program that does nothing else may decide that, no library; and whoever set
// GOMAXPROCS has decided already.
func oneThread() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) <= 2 {
		runtime.GOMAXPROCS(1)
	}
}

// command runs the program until ctx ends, and returns its exit code.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "tun2socks:", err, "(tun2socks -help says more)")
		return exitUsage
	case o.version:
		fmt.Fprintln(stdout, version())
		return 0
	}
	if o.workers > 1 {
		err = serveWorkers(ctx, o, args, stderr)
	} else {
		err = serve(ctx, o, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "tun2socks:", err)
		return exitFailed
	}
	return 0
}
