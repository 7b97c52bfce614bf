package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

// The names under which this program starts itself: by its first argument it
// knows what it is.
const (
	insideName = "l3run (inside)" // the inner process, until it becomes the command
	demoName   = "l3run (demo)"   // the demo's command
)

func main() {
	switch os.Args[0] {
	case insideName:
		os.Exit(inside(os.Args[1:]))
	case demoName:
		os.Exit(demoClient(os.Args[1:]))
	}
	o, err := parseOptions(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "l3run:", err, "(l3run -help says more)")
		os.Exit(exitUsage)
	}
	run := runCommand
	if len(o.command) == 0 {
		run = demo
	}
	code, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "l3run:", err)
	}
	os.Exit(code)
}
