// Command vmnet is the network of virtual machines, in user space: it is the gateway of
// their Ethernet segment, gives them addresses, and dials out what they send. It needs
// no root, no bridge, no firewall rule; qemu's own -netdev user does the same with
// libslirp.
//
//	vmnet -listen unix:///run/user/1000/vmnet
//	qemu-system-x86_64 ... -device virtio-net-pci,netdev=n0 \
//		-netdev stream,id=n0,server=off,addr.type=unix,addr.path=/run/user/1000/vmnet
//
// Over datagrams (vmnet is told where qemu is):
//
//	vmnet -listen unixgram:///tmp/vmnet -peer /tmp/qemu
//	qemu-system-x86_64 ... -netdev dgram,id=n0,local.type=unix,local.path=/tmp/qemu,\
//		remote.type=unix,remote.path=/tmp/vmnet
//
// With -tap NAME a Linux tap interface takes the place of qemu's sockets: the other end of
// it may be in a network namespace, or a port of a bridge. That needs CAP_NET_ADMIN, or an
// interface made for the user by "ip tuntap add".
//
// A guest gets an IPv4 address by DHCP and one of IPv6 by router advertisements. The
// gateway answers pings and DNS, with the host's resolver. Each connection of qemu is a
// segment of its own, with the same addresses, so that guests cannot reach each other. They
// reach what this host reaches, but not its loopback, link-local addresses (cloud metadata)
// and the segment's own.
//
// SIGTERM and SIGINT end it: no new connections are taken, those that are open have
// -drain to finish, and it exits with 0. A second signal ends it at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command runs the program until ctx ends, and returns its exit code.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "vmnet:", err, "(vmnet -help says more)")
		return exitUsage
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.level}))
	s, err := newServer(o, logger)
	if err == nil {
		err = errors.Join(s.serve(ctx), s.Close())
	}
	if err != nil {
		fmt.Fprintln(stderr, "vmnet:", err)
		return exitFailed
	}
	return 0
}
