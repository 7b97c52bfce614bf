//go:build !unix

package control

import "net"

// listenUnix opens a socket file, for which Windows has no mode: it gets the rights of its
// folder.
func listenUnix(path string) (net.Listener, error) { return net.Listen("unix", path) }
