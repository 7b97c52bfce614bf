package tun

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadNetNS is the network namespace of the thread that opens it.
const threadNetNS = "/proc/thread-self/ns/net"

// onThread runs f with the goroutine kept on its thread.
func onThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f()
}

// inNetNS runs f on a thread inside the namespace at path. The error is about
// getting there; f has not run then.
func inNetNS(path string, f func()) error {
	there, err := os.Open(path)
	if err != nil {
		return err
	}
	defer there.Close()
	done := make(chan error)
	go func() { // awaited below; a goroutine of its own, so that its thread can be given up
		done <- visit(int(there.Fd()), f)
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// visit enters the namespace, runs f and comes back. A thread that cannot come
// back stays locked and dies with its goroutine.
func visit(ns int, f func()) error {
	runtime.LockOSThread()
	home, err := unix.Open(threadNetNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return os.NewSyscallError("open "+threadNetNS, err)
	}
	defer unix.Close(home)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return os.NewSyscallError("setns", err)
	}
	f()
	if unix.Setns(home, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return nil
}
