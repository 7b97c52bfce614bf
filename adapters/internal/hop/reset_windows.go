package hop

import "golang.org/x/sys/windows"

// resets are the errors of a connection that the other end has given up.
var resets = []error{windows.WSAECONNRESET, windows.WSAECONNABORTED}
