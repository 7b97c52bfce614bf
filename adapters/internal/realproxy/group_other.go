//go:build !unix

package realproxy

import "os/exec"

func group(*exec.Cmd) {}

func end(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func kill(*exec.Cmd) {}
