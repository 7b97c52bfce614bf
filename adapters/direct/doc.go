// Package direct dials from the host, as net.Dialer and net.ListenConfig do, but
// out of a routing loop's way: when the host's own routes lead into the tunnel
// whose packets are extracted, what is dialled for a client would come back as
// that client's next connection. A mark that the host's routing rules exempt
// (Linux) or an interface to leave by (Linux, macOS, iOS) breaks the loop.
package direct
