//go:build unix

package realproxy

import (
	"os/exec"
	"syscall"
)

// group makes the program the first of a process group, for those that fork.
func group(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// end asks the first alone: it ends and awaits its children, who else would be nobody's.
func end(cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGTERM) }

func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
