//go:build !unix

package main

import "os"

// reloads never receives: this system has no SIGHUP.
func reloads() (<-chan os.Signal, func()) { return nil, func() {} }
