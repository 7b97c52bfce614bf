package main

import (
	"os/exec"
	"runtime"
	"syscall"
)

// runWithUs runs a command that ends when this process does, however it does.
func runWithUs(cmd *exec.Cmd) error {
	runtime.LockOSThread() // the kernel means the thread that started it
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}
