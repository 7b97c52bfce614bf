// Command wgserver is a whole VPN exit without root: it ends WireGuard tunnels in
// user space and dials out what comes through them. There is no interface, no route
// and no firewall rule; a UDP port is all it needs of the system.
//
//	wgserver -config wg0.conf
//
// The configuration is wg-quick's. Address is where the server itself is inside: it
// answers pings and DNS there, with the host's resolver or the servers of DNS. A peer
// may send from its AllowedIPs and from nowhere else. Keys stand in the file only,
// which nobody but its owner may read.
//
//	wgserver -genkey                                  a new private key
//	wgserver -config wg0.conf -check                  is it right?
//	wgserver -config wg0.conf -client 10.66.0.7 -endpoint vpn.example.com:51820 > laptop.conf 2>> wg0.conf
//
// The last one makes a client: its configuration on standard output, ready for
// wg-quick or a phone, and its section for the server on standard error.
//
// A burst waits in the buffer of the UDP socket, for which Linux lets an ordinary user
// have 208 KiB; a busy server loses less with more (sysctl net.core.rmem_max).
//
// Clients reach what this host reaches, but not its loopback, link-local addresses
// (cloud metadata), the server's own, and those of each other.
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
		fmt.Fprintln(stderr, "wgserver:", err, "(wgserver -help says more)")
		return exitUsage
	}
	if err := do(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "wgserver:", err)
		return exitFailed
	}
	return 0
}

// do does what o asks for.
func do(ctx context.Context, o *options, stdout, stderr io.Writer) error {
	if o.genkey {
		k, err := newKey()
		if err == nil {
			_, err = fmt.Fprintln(stdout, k)
		}
		return err
	}
	cfg, err := readConfig(o.config)
	if err != nil {
		return err
	}
	switch {
	case o.check:
		_, err = fmt.Fprintf(stdout, "%s: right; %d peers\n", o.config, len(cfg.peers))
		return err
	case len(o.client) > 0:
		client, section, err := cfg.newClient(o.client, o.endpoint)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(stdout, client)
		_, err2 := fmt.Fprintf(stderr, "\n%v", section)
		return errors.Join(err, err2)
	}
	if err := cfg.resolve(ctx); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.level}))
	s, err := newServer(cfg, o, logger)
	if err != nil {
		return err
	}
	return s.serve(ctx)
}
