package socks5

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"l3extract/adapters/internal/hop"
)

// FuzzReply: whatever a proxy says, there is an address or an error, and not a byte
// is read beyond a reply.
func FuzzReply(f *testing.F) {
	f.Add([]byte("\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50SSH-2.0"))
	f.Add([]byte("\x05\x00\x00\x03\x00\x00\x00x"))
	f.Add([]byte("\x05\x05"))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &hop.Proxy{Protocol: "socks5", Address: "x"}
		r := bytes.NewReader(b)
		_, err := readReply(p, r)
		var eof bool
		if err != nil {
			eof = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
			if eof && r.Len() != 0 {
				t.Errorf("%v with %d bytes left", err, r.Len())
			}
			return
		}
		read := len(b) - r.Len()
		if _, err := readReply(p, bytes.NewReader(b[:read])); err != nil {
			t.Errorf("% x is a reply, and alone it is not: %v", b[:read], err)
		}
		if _, err := readReply(p, bytes.NewReader(b[:read-1])); err == nil {
			t.Errorf("% x is a reply without its last byte", b[:read])
		}
	})
}
