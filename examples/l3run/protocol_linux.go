package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The two processes talk over a SOCK_SEQPACKET pair, one JSON object in each
// packet: orders go in, a report comes out with files attached, and the word go
// goes in. The inner end is closed by exec. The command itself travels as the
// inner process's own arguments, because it may be longer than a packet.

// orders is what the inner process is told.
type orders struct {
	Addrs      []netip.Addr // of the device
	MTU        int
	ResolvConf string // what /etc/resolv.conf shall hold
	Path       string // of the command; empty: to be looked up
	Privileged bool   // no user namespace was made: keep the capabilities
}

// report is what the inner process answers: the files of attached, in order, or
// what went wrong.
type report struct {
	Stage stage  `json:",omitempty"` // where it failed
	Errno int    `json:",omitempty"` // 0 when Error has no errno in it
	Error string `json:",omitempty"`
}

// The files that come with a report without error, in this order.
const (
	fileTUN     = iota // the TUN device, attached, packets without a header
	fileNetNS          // the network namespace itself
	fileSockets        // asks about its sockets; may be missing
	files
)

// word is the go.
type word struct{ Go bool }

// maxMessage bounds a packet on the pair; a resolv.conf is what is longest.
const maxMessage = 64 << 10

// channel is one end of the pair. It is not for concurrent use.
type channel struct{ c *net.UnixConn }

// newPair returns the outer end, and the inner one as a file to be inherited.
func newPair() (channel, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return channel{}, nil, os.NewSyscallError("socketpair", err)
	}
	inner := os.NewFile(uintptr(fds[1]), "l3run inner")
	c, err := openChannel(os.NewFile(uintptr(fds[0]), "l3run outer"))
	if err != nil {
		return channel{}, nil, errors.Join(err, inner.Close())
	}
	return c, inner, nil
}

// openChannel takes over f.
func openChannel(f *os.File) (channel, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return channel{}, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return channel{}, errors.Join(fmt.Errorf("fd %s is a %T", f.Name(), c), c.Close())
	}
	return channel{u}, nil
}

func (c channel) send(v any, attached ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var oob []byte
	if len(attached) > 0 {
		fds := make([]int, len(attached))
		for i, f := range attached {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	_, _, err = c.c.WriteMsgUnix(b, oob, nil)
	return err
}

// receive returns io.EOF when the other end is gone.
func (c channel) receive(v any) ([]*os.File, error) {
	b := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(files*4))
	n, oobn, flags, _, err := c.c.ReadMsgUnix(b, oob)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case n == 0:
		return nil, io.EOF
	}
	got, err := attachedFiles(oob[:oobn])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = syscall.EMSGSIZE
	}
	if err == nil {
		err = json.Unmarshal(b[:n], v)
	}
	if err != nil {
		for _, f := range got {
			f.Close()
		}
		return nil, err
	}
	return got, nil
}

func (c channel) Close() error { return c.c.Close() }

// attachedFiles takes the descriptors out of control messages. They are
// close-on-exec: net's ReadMsgUnix asks for that.
func attachedFiles(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var got []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return got, err
		}
		for _, fd := range fds {
			got = append(got, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return got, nil
}
