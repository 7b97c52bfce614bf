package sniff

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

const (
	handshakeRecord = 22 // RFC 8446, 5.1
	recordHeader    = 5
)

// serverName has crypto/tls read a ClientHello and stops it there.
func serverName(b []byte) (name string, done bool) {
	if len(b) < recordHeader || len(b) < recordHeader+int(binary.BigEndian.Uint16(b[3:])) {
		return "", len(b) > 1 && b[1] != 3 // no version of TLS
	}
	c := &replay{r: bytes.NewReader(b)}
	err := tls.Server(c, &tls.Config{
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name = h.ServerName
			return nil, errSeen
		},
	}).HandshakeContext(context.Background())
	// A hello in several records, of which some are missing, runs out of bytes.
	return name, errors.Is(err, errSeen) || !c.dry
}

var errSeen = errors.New("sniff: seen")

// replay is a net.Conn that gives what there is, takes everything, and leads nowhere.
type replay struct {
	r   *bytes.Reader
	dry bool // more was asked for
}

// Read implements net.Conn.
func (c *replay) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if err != nil {
		c.dry = true
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Write implements net.Conn: alerts.
func (c *replay) Write(b []byte) (int, error) { return len(b), nil }

// Close implements net.Conn.
func (c *replay) Close() error { return nil }

// LocalAddr implements net.Conn.
func (c *replay) LocalAddr() net.Addr { return nil }

// RemoteAddr implements net.Conn.
func (c *replay) RemoteAddr() net.Addr { return nil }

// SetDeadline implements net.Conn.
func (c *replay) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (c *replay) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (c *replay) SetWriteDeadline(time.Time) error { return nil }
