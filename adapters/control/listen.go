package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"syscall"
	"time"
)

// Listen opens where a Server can serve: unix:///PATH, a socket of mode 0600, or
// http://HOST:PORT (tcp:// is the same). A socket file that nobody listens on any more is
// replaced. Credentials in the URL are an error: a Server has its Token.
func Listen(address string) (net.Listener, error) {
	network, addr, err := split(address)
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		return net.Listen(network, addr)
	}
	ln, err := listenUnix(addr)
	if errors.Is(err, syscall.EADDRINUSE) && abandoned(addr) {
		if err := os.Remove(addr); err != nil {
			return nil, err
		}
		ln, err = listenUnix(addr)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(addr, 0o600); err != nil { // where the system did not make it so
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// split takes an address of Listen apart.
func split(address string) (network, addr string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", errors.New("control: the address is no URL") // which the error would repeat
	}
	switch {
	case u.User != nil:
		return "", "", errors.New("control: credentials in the address")
	case u.Scheme == "unix" && u.Host == "" && u.Path != "":
		return "unix", u.Path, nil
	case (u.Scheme == "http" || u.Scheme == "tcp") && u.Port() != "":
		return "tcp", u.Host, nil
	}
	return "", "", fmt.Errorf("control: address %q: want unix:///PATH or http://HOST:PORT", address)
}

// abandoned tells whether path is a socket that nobody listens on.
func abandoned(path string) bool {
	if fi, err := os.Lstat(path); err != nil || fi.Mode()&fs.ModeSocket == 0 {
		return false
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
