//go:build !linux

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
)

// selfPath is never used here: nothing starts this program again.
const selfPath = ""

var errNoNamespaces = fmt.Errorf("running a command needs Linux, with its network namespaces; this is %s", runtime.GOOS)

func inside([]string) int { return exitSetup }

func runCommand(*options) (int, error) { return exitSetup, errNoNamespaces }

type orders struct{ Path string }

func runInside(*exec.Cmd, orders, *options, instead, func(*session)) (int, error) {
	return exitSetup, &setupError{Stage: stageStart, Err: errors.ErrUnsupported}
}
