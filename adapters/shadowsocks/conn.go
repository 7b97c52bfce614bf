package shadowsocks

import (
	"bytes"
	"errors"
	"io"
	"net"

	"github.com/Jigsaw-Code/outline-sdk/transport/shadowsocks"
)

// conn is an encrypted connection. One goroutine may read and another write.
type conn struct {
	net.Conn
	r shadowsocks.Reader
	w *shadowsocks.Writer
}

func newConn(c net.Conn, key *shadowsocks.EncryptionKey) *conn {
	in := &mirror{r: c}
	w := shadowsocks.NewWriter(c, key)
	w.SetSaltGenerator(in)
	return &conn{Conn: c, r: shadowsocks.NewReader(in, key), w: w}
}

// mirror finds out when a server, or somebody in between, sends our own words back:
// with the same salt in front they can be decrypted.
type mirror struct {
	r    io.Reader
	salt []byte // that was sent, before anything is read
	seen int    // so much of it has come back
	done bool   // it has not
}

// GetSalt implements shadowsocks.SaltGenerator.
func (m *mirror) GetSalt(salt []byte) error {
	if err := shadowsocks.RandomSaltGenerator.GetSalt(salt); err != nil {
		return err
	}
	m.salt = bytes.Clone(salt)
	return nil
}

var errMirror = errors.New("the server sends back what it was sent")

func (m *mirror) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	for i := 0; i < n && !m.done; i++ {
		switch {
		case b[i] != m.salt[m.seen]:
			m.done, m.salt = true, nil
		case m.seen+1 == len(m.salt):
			return 0, errMirror
		default:
			m.seen++
		}
	}
	return n, err
}

// Read decrypts. What cannot be decrypted is an error, and so is an end within a
// record.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, err := c.r.Read(b)
		if n > 0 || err != nil { // a record may be empty
			return n, c.opError("read", err)
		}
	}
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if err != nil {
		n = 0 // what is in records of which the server got a part is lost
	}
	return n, c.opError("write", err)
}

// NetConn returns the connection to the server.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite ends what is sent, if the conn below can.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}

func (c *conn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
