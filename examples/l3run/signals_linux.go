package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that are handed on to the command. Stopping and
// continuing are not among them: the command is in the same process group, where
// the terminal and the shell do that to both processes.
var forwarded = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2,
	unix.SIGALRM, unix.SIGTERM, unix.SIGWINCH,
}

// fromTerminal are those that a terminal sends to its whole foreground process
// group.
var fromTerminal = map[os.Signal]bool{unix.SIGINT: true, unix.SIGQUIT: true, unix.SIGWINCH: true}

// signalQueue holds what arrives faster than it is handed on; what finds it full
// is dropped, as a pending signal swallows another of its kind.
const signalQueue = 16

// catchSignals keeps the forwarded signals from ending this process. What was
// ignored stays ignored (nohup, a shell's background job), here and inside.
func catchSignals() chan os.Signal {
	c := make(chan os.Signal, signalQueue)
	for _, s := range forwarded {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
	return c
}

// forwardSignals hands on what arrives in c until c is closed; once the command
// has ended, by ended's closing, a signal calls late instead. While we are in the
// terminal's foreground, its Ctrl-C has reached the command already, and a second
// one would end many a program that is just cleaning up. Go does not say who sent
// a signal, so a `kill -INT` of l3run in the foreground is taken for the
// terminal's.
func forwardSignals(c <-chan os.Signal, to *os.Process, ended <-chan struct{}, late func()) {
	for s := range c {
		select {
		case <-ended:
			if s != unix.SIGWINCH {
				late()
			}
			continue
		default:
		}
		if fromTerminal[s] && inForeground() {
			continue
		}
		_ = to.Signal(s) // it may just have ended
	}
}

// inForeground tells whether this process is in the foreground group of its
// controlling terminal, if it has one.
func inForeground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == syscall.Getpgrp()
}
