//go:build !linux

package main

import (
	"errors"
	"runtime"

	"l3extract/l3conn"
)

func openTap(string) (l3conn.Conn, error) {
	return nil, errors.New("-tap: not on " + runtime.GOOS)
}
