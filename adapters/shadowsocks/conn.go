package shadowsocks

import (
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
	return &conn{Conn: c, r: shadowsocks.NewReader(c, key), w: shadowsocks.NewWriter(c, key)}
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
