//go:build !unix

package hop

import (
	"net"
	"syscall"
)

// peeker would look at bytes without taking them; here they are read one by one.
func peeker(net.Conn) (func(b []byte) (int, error), bool) { return nil, false }

// Await would return when there is something to be read; here it does at once.
func Await(syscall.RawConn) error { return nil }
