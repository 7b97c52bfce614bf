package hop

import (
	"bytes"
	"errors"
	"io"
	"net"
)

// ErrHead is a head of headers that is longer than it may be.
var ErrHead = errors.New("answers with too long a head")

// ReadHead reads the head of a message of HTTP, to the empty line and not a byte
// further. limit bounds it, in bytes.
func ReadHead(c net.Conn, limit int) ([]byte, error) {
	look, peeks := peeker(c)
	if !peeks {
		look = func(b []byte) (int, error) { return c.Read(b[:1]) }
	}
	head := make([]byte, 0, limit)
	for len(head) < limit {
		was := len(head)
		n, err := look(head[was:limit])
		if err != nil {
			if err == io.EOF && was > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		head = head[:was+n]
		end := headEnd(head, was)
		if end > 0 {
			head = head[:end]
		}
		if peeks { // it is still there, to be read
			if _, err := io.ReadFull(c, head[was:]); err != nil {
				return nil, err
			}
		}
		if end > 0 {
			return head, nil
		}
	}
	return nil, ErrHead
}

// headEnd returns where the head in b ends, or 0. b did not have an end before.
func headEnd(b []byte, before int) int {
	from := max(0, before-3)
	end := 0
	for _, empty := range [...]string{"\r\n\r\n", "\n\n"} { // the second is what RFC 9112 lets pass
		if i := bytes.Index(b[from:], []byte(empty)); i >= 0 && (end == 0 || from+i+len(empty) < end) {
			end = from + i + len(empty)
		}
	}
	return end
}
