package tcp

import (
	"io"
	"net"
	"os"
	"reflect"
	"syscall"

	"golang.org/x/sys/unix"

	"l3extract/internal/netstack"
)

// writeToSocket hands received bytes to a kernel socket as they lie in the engine's
// memory. The engine frees that memory when the connection is aborted, so it is
// held over one system call that does not wait, under peekMu; waiting for input and
// for the socket happens with nothing held.
func (s *Stream) writeToSocket(w io.Writer) (total int64, err error, ok bool) {
	// Only these two: a type that embeds one of them has its own idea of Write.
	var raw syscall.RawConn
	switch c := w.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		if c.LocalAddr().Network() != "unix" {
			return 0, nil, false // datagrams: their sizes are for Write to decide
		}
		raw, err = c.SyscallConn()
	default:
		return 0, nil, false
	}
	if err != nil {
		return 0, nil, false // its Write says what is wrong
	}
	for {
		if err := s.waitReadable(); err != nil {
			if err == io.EOF {
				err = nil
			}
			return total, s.opError(opWriteTo, err), true
		}
		var own error // ours; what raw.Write returns is the socket's
		var sysErr error
		werr := raw.Write(func(fd uintptr) bool {
			var n int
			n, own, sysErr = s.sendPeeked(int(fd))
			total += int64(n)
			return sysErr != unix.EAGAIN
		})
		switch {
		case own == io.EOF:
			return total, nil, true
		case own == netstack.ErrWouldBlock: // another reader was faster
		case own != nil:
			return total, s.opError(opWriteTo, own), true
		case werr != nil:
			return total, werr, true
		case sysErr != nil:
			return total, socketError(w, "write", sysErr), true
		}
	}
}

// sendPeeked passes what was received to the socket fd and consumes what it took.
// own is an error of this stream, sys one of the socket.
func (s *Stream) sendPeeked(fd int) (n int, own, sys error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	n, _, _, own, sys = s.sendReceived(fd)
	return n, own, sys
}

// sendReceived is sendPeeked, without the turn that readers take. It also says how much
// there was to take, and whether more of it may be left.
func (s *Stream) sendReceived(fd int) (n, had int, more bool, own, sys error) {
	ep := s.ep.Load()
	v := vectors.Get().(*vector)
	s.peekMu.Lock()
	defer s.peekMu.Unlock()
	if err := s.stopReading(); err != nil {
		v.put(0)
		return 0, 0, false, err, nil
	}
	got, err := ep.Peek(v[:0])
	defer v.put(len(got))
	if len(got) == 0 {
		if err != netstack.ErrWouldBlock {
			err = s.ended(err)
		}
		return 0, 0, false, err, nil
	}
	for _, b := range got {
		had += len(b)
	}
	if n, sys = send(fd, got); n > 0 {
		_, _ = ep.Discard(n) // they are there: peekMu keeps everybody else out
		s.received(ep, n)
		return n, had, len(got) == cap(got), nil, nil
	}
	return 0, had, true, nil, sys
}

// readFromSocket reads from a kernel socket only when it has something, so that no
// memory is held for an idle one.
func (s *Stream) readFromSocket(r io.Reader) (total int64, err error, ok bool) {
	l, limited := r.(*io.LimitedReader)
	if !limited {
		return s.readFromRaw(r, -1)
	}
	if total, err, ok = s.readFromRaw(l.R, max(l.N, 0)); ok {
		l.N -= total
	}
	return total, err, ok
}

// plainSocket returns the descriptor of one of package net's stream sockets. Package
// net passes a TCPConn on wrapped, to hide methods of it; a wrapper of anybody else
// may have its own idea of Read.
func plainSocket(r io.Reader) syscall.RawConn {
	t := reflect.TypeOf(r)
	if t == nil {
		return nil
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Name() {
	case "TCPConn", "tcpConnWithoutWriteTo", "UnixConn":
	default:
		return nil
	}
	c, ok := r.(interface {
		syscall.Conn
		LocalAddr() net.Addr
	})
	if !ok || t.PkgPath() != "net" {
		return nil
	}
	if n := c.LocalAddr().Network(); n != "tcp" && n != "unix" {
		return nil // in a datagram socket nothing is not the end
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readFromRaw copies up to limit bytes, or all if it is negative.
func (s *Stream) readFromRaw(r io.Reader, limit int64) (total int64, err error, ok bool) {
	raw := plainSocket(r)
	if raw == nil {
		return 0, nil, false
	}
	for limit < 0 || total < limit {
		if err := s.Flush(); err != nil {
			return total, s.asReadFrom(err), true
		}
		var l lent
		var n int
		var sysErr error
		rerr := raw.Read(func(fd uintptr) bool {
			l = s.borrow()
			b := l.b
			if limit >= 0 {
				b = b[:min(int64(len(b)), limit-total)]
			}
			for {
				n, sysErr = unix.Read(int(fd), b)
				if sysErr != unix.EINTR {
					break
				}
			}
			if sysErr == unix.EAGAIN {
				s.handBack(l)
				l = lent{}
				return false
			}
			return true
		})
		if l.b == nil {
			return total, rerr, true // closed or past its deadline while waiting
		}
		m := 0
		if rerr == nil && sysErr == nil && n > 0 {
			m, err = s.writeAll(l.b[:n])
			total += int64(m)
		}
		s.handBack(l)
		switch {
		case rerr != nil:
			return total, rerr, true
		case sysErr != nil:
			return total, socketError(r, "read", sysErr), true
		case n == 0:
			return total, nil, true
		case err != nil:
			return total, err, true
		}
	}
	return total, nil, true
}

// socketError is the error that the socket's own Read or Write would return.
func socketError(socket any, op string, err error) error {
	e := &net.OpError{Op: op, Err: os.NewSyscallError(op, err)}
	if c, ok := socket.(net.Conn); ok {
		e.Source, e.Addr = c.LocalAddr(), c.RemoteAddr()
		if e.Source != nil {
			e.Net = e.Source.Network()
		}
	}
	return e
}
