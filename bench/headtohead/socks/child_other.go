//go:build !linux

package main

import "os/exec"

func runWithUs(cmd *exec.Cmd) error { return cmd.Run() }
