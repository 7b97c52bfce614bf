//go:build !linux

package datagram

import "net"

// fast is Linux's.
type fast struct{}

func newFast(*Conn, *net.UDPConn) *fast { return nil }

func (*fast) read([]byte) (int, error)               { panic("unreachable") }
func (*fast) BatchSize() int                         { panic("unreachable") }
func (*fast) ReadBatch([][]byte, []int) (int, error) { panic("unreachable") }
func (*fast) WriteBatch([][]byte) (int, error)       { panic("unreachable") }

// pathMTU is not known here.
func pathMTU(socket, *net.UDPAddr, bool) int { return 0 }
