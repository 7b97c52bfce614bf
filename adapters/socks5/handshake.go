package socks5

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"l3extract/adapters/internal/hop"
	"l3extract/adapters/internal/socksaddr"
)

const (
	version     = 5
	authVersion = 1 // of RFC 1929

	cmdConnect   = 1
	cmdAssociate = 3

	methodNone     = 0
	methodPassword = 2
	methodNoneOf   = 0xff
)

// maxHandshake is the longest that is written: a greeting, credentials, a request.
const maxHandshake = (2 + 2) + (3 + 255 + 255) + (3 + socksaddr.MaxLen)

// greet agrees on a method and authenticates.
func (d *Dialer) greet(ctx context.Context, p *hop.Proxy, c net.Conn) error {
	err := hop.Within(ctx, c, func(c net.Conn) error {
		b := make([]byte, 0, maxHandshake)
		if d.Username == "" {
			b = append(b, version, 1, methodNone)
		} else {
			b = append(b, version, 2, methodNone, methodPassword)
		}
		if _, err := c.Write(b); err != nil {
			return hop.Cut(err)
		}
		method, err := d.readMethod(p, c)
		if err != nil || method == methodNone {
			return err
		}
		if _, err := c.Write(d.appendCredentials(b[:0])); err != nil {
			return hop.Cut(err)
		}
		return readAuth(p, c)
	})
	if err != nil {
		return p.Fault(err)
	}
	return nil
}

// appendAll appends everything that is said, for a proxy that takes it in one piece. It
// offers one method, so that the proxy has no choice.
func (d *Dialer) appendAll(b []byte, cmd byte, to socksaddr.Addr) []byte {
	if d.Username == "" {
		return appendRequest(append(b, version, 1, methodNone), cmd, to)
	}
	return appendRequest(d.appendCredentials(append(b, version, 1, methodPassword)), cmd, to)
}

// readAll reads the answers to that. greeted tells that only the last is missing.
func (d *Dialer) readAll(p *hop.Proxy, c io.Reader) (bound socksaddr.Addr, greeted bool, err error) {
	method, err := d.readMethod(p, c)
	switch {
	case err != nil:
	case method == methodNone && d.Username != "":
		err = errors.New("chose no authentication, which was not offered")
	case method == methodPassword:
		err = readAuth(p, c)
	}
	if err != nil {
		return bound, false, err
	}
	bound, err = readReply(p, c)
	return bound, true, err
}

// pipeline does everything with one write.
func (d *Dialer) pipeline(ctx context.Context, p *hop.Proxy, c net.Conn, cmd byte, to socksaddr.Addr) (bound socksaddr.Addr, err error) {
	greeted := false
	err = hop.Within(ctx, c, func(c net.Conn) error {
		_, err := c.Write(d.appendAll(make([]byte, 0, maxHandshake), cmd, to))
		if err != nil {
			return hop.Cut(err)
		}
		bound, greeted, err = d.readAll(p, c)
		return err
	})
	switch {
	case err == nil:
		return bound, nil
	case greeted:
		return bound, p.Silent(err)
	}
	return bound, p.Fault(err)
}

// request has a proxy that was greeted do cmd.
func (d *Dialer) request(ctx context.Context, p *hop.Proxy, c net.Conn, cmd byte, to socksaddr.Addr) (bound socksaddr.Addr, err error) {
	err = hop.Within(ctx, c, func(c net.Conn) error {
		if _, err := c.Write(appendRequest(make([]byte, 0, maxHandshake), cmd, to)); err != nil {
			return hop.Cut(err)
		}
		bound, err = readReply(p, c)
		return err
	})
	if err != nil {
		return bound, p.Silent(err)
	}
	return bound, nil
}

// stale tells the error of a request over a connection that the proxy may have ended
// because it was idle.
func stale(err error) bool {
	var cut *hop.CutError
	return errors.As(err, &cut) && cut.Early
}

func (d *Dialer) appendCredentials(b []byte) []byte {
	b = append(append(b, authVersion, byte(len(d.Username))), d.Username...)
	return append(append(b, byte(len(d.Password))), d.Password...)
}

func appendRequest(b []byte, cmd byte, to socksaddr.Addr) []byte {
	return to.Append(append(b, version, cmd, 0))
}

// readMethod reads which method the proxy chose.
func (d *Dialer) readMethod(p *hop.Proxy, c io.Reader) (byte, error) {
	var b [2]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return 0, hop.Cut(err)
	}
	switch {
	case b[0] == 'H':
		return 0, errors.New("this is no SOCKS5 proxy; it seems to speak HTTP")
	case b[0] != version:
		return 0, fmt.Errorf("this is no SOCKS5 proxy: it answers with version %d", b[0])
	case b[1] == methodNone, b[1] == methodPassword && d.Username != "":
		return b[1], nil
	case b[1] == methodNoneOf && d.Username == "":
		return 0, p.Denied("wants a user name and password, or does not serve this client")
	case b[1] == methodNoneOf:
		return 0, p.Denied("takes no user name and password, or does not serve this client")
	}
	return 0, fmt.Errorf("chose authentication method %d, which was not offered", b[1])
}

// readAuth reads what the proxy says of the credentials.
func readAuth(p *hop.Proxy, c io.Reader) error {
	var b [2]byte
	switch n, err := io.ReadFull(c, b[:]); {
	case n == 0 && errors.Is(err, io.EOF): // some do not even say so
		return p.Denied("ended the connection after the user name and password, which may be wrong")
	case err != nil:
		return hop.Cut(err)
	case b[0] != authVersion && b[0] != version: // some have read no RFC
		return fmt.Errorf("answers to the credentials with version %d", b[0])
	case b[1] != 0:
		return p.Denied("refuses the user name or the password")
	}
	return nil
}

// replyHead is read first: the shortest reply there is, with an empty name.
const replyHead = 3 + 1 + 1 + 2

// readReply reads what became of a request.
func readReply(p *hop.Proxy, c io.Reader) (socksaddr.Addr, error) {
	var b [3 + socksaddr.MaxLen]byte
	n, err := io.ReadFull(c, b[:replyHead])
	if n >= 2 && b[0] == version && b[1] != 0 { // some stop here
		return socksaddr.Addr{}, failure(p, b[1])
	}
	switch {
	case err == io.EOF: // OpenSSH's way to say no
		return socksaddr.Addr{}, &hop.Error{Protocol: p.Protocol, Address: p.Address, Err: hop.Cut(err), Errno: syscall.ECONNREFUSED}
	case err != nil:
		return socksaddr.Addr{}, hop.Cut(err)
	}
	if b[0] != version {
		return socksaddr.Addr{}, fmt.Errorf("answers to the request with version %d", b[0])
	}
	size, err := socksaddr.Len(b[3], b[4])
	if err != nil {
		return socksaddr.Addr{}, fmt.Errorf("answers with an address of type %d, which there is not", b[3])
	}
	if _, err := io.ReadFull(c, b[replyHead:3+size]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return socksaddr.Addr{}, hop.Cut(err)
	}
	bound, _, err := socksaddr.Parse(b[3 : 3+size])
	return bound, err
}

// failure returns the error of a reply code.
func failure(p *hop.Proxy, code byte) error {
	switch code {
	case 1:
		return p.Refused("general failure", syscall.EHOSTUNREACH)
	case 2:
		return p.Refused("connection not allowed by its rules", syscall.EACCES)
	case 3:
		return p.Refused("network unreachable", syscall.ENETUNREACH)
	case 4:
		return p.Refused("host unreachable", syscall.EHOSTUNREACH)
	case 5:
		return p.Refused("connection refused", syscall.ECONNREFUSED)
	case 6:
		return p.Refused("TTL expired", syscall.ETIMEDOUT)
	case 7:
		return p.Unsupported("command not supported")
	case 8:
		return p.Refused("address type not supported", syscall.EAFNOSUPPORT)
	}
	return fmt.Errorf("answers with code %d, which there is not", code)
}
