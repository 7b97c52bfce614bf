//go:build !windows

package hop

import "syscall"

// resets are the errors of a connection that the other end has given up.
var resets = []error{syscall.ECONNRESET, syscall.EPIPE}
