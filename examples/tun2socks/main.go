// Command tun2socks forwards what a host sends into a TUN interface: every TCP
// connection and UDP conversation in its packets is dialled out, directly or through
// proxies, as flags and a file say. It takes the flags that people know from other
// programs of its name:
//
//	tun2socks -device tun://tun0 -proxy socks5://127.0.0.1:1080 -interface eth0
//
// README.md beside this file is the manual, and -help a screen of it.
//
// SIGTERM and SIGINT end it: no new flows are taken, those that are open have -drain to
// finish, a summary is logged, and it exits with 0. A second signal ends it at once.
// SIGHUP has it read its file again: outbounds, rules, DNS servers and limits, and the
// level of the log, become those of the file, and flows that are open go on as they are.
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
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"l3extract/examples/tun2socks/internal/argv"
	"l3extract/examples/tun2socks/internal/config"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	oneThread()
	args := argv.Hide()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(command(ctx, args, os.Stdin, os.Stdout, os.Stderr))
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
func command(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	in, err := config.Parse(args)
	var p *program
	if err == nil && in.Device != "" && !in.Version && !in.Cleanup {
		if p, err = newProgram(in, args, stderr); err == nil {
			defer p.close()
		} else {
			err = in.Locate(err)
		}
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, config.Help())
		return 0
	case err != nil:
		complain(stderr, err)
		return exitUsage
	case in.Version:
		fmt.Fprintln(stdout, "tun2socks of l3extract", version())
		return 0
	case in.Check:
		_, _ = stdout.Write(report(in.Config)) // nobody is left to tell
		return 0
	case in.Cleanup:
		err = cleanup(in.Config)
	case in.Status && !(isTerminal(stdin) && isTerminal(stdout)):
		complain(stderr, errNoTerminal)
		return exitUsage
	case in.Status && in.Device == "":
		err = attach(ctx, in.Config, stdin, stdout)
	case in.Workers > 1:
		err = p.serveWorkers(ctx, stderr)
	default:
		err = p.serve(ctx, stdin, stdout)
	}
	if err != nil {
		complain(stderr, err)
		return exitFailed
	}
	return 0
}

// complain prints an error as one line, without anybody's password.
func complain(w io.Writer, err error) {
	line := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
	fmt.Fprintln(w, "tun2socks:", config.Redact(line))
}

// report is what -check prints: a file that means the same as file and flags together.
func report(c *config.Config) []byte {
	b := c.YAML()
	if len(c.Sniff) > 0 {
		b = append(b, "# sniff: connections to these ports are answered before they are dialled, so that one\n"+
			"# that cannot be dialled looks open and is then reset\n"...)
	}
	return b
}

// version tells what this program was built from.
func version() string {
	v := []string{"(unknown)"}
	if info, ok := debug.ReadBuildInfo(); ok {
		v[0] = info.Main.Version
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && !strings.Contains(v[0], s.Value[:min(12, len(s.Value))]):
				v = append(v, s.Value)
			case s.Key == "vcs.time":
				v = append(v, s.Value)
			case s.Key == "vcs.modified" && s.Value == "true":
				v = append(v, "modified")
			}
		}
	}
	v = slices.Compact(v)
	return fmt.Sprintf("%s, %s, %s/%s", strings.Join(v, " "), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
