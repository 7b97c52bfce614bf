//go:build !linux && !darwin && !windows && !freebsd && !openbsd

package tun

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"l3extract/l3conn"
)

// errUnsupported is the one error of a system without TUN here.
var errUnsupported = fmt.Errorf("tun: no TUN on %s: %w", runtime.GOOS, errors.ErrUnsupported)

const errnoGone = syscall.ENXIO

// device cannot be had.
type device struct{}

func open(Config) (*Device, error)            { return nil, errUnsupported }
func fromFile(*os.File, int) (*Device, error) { return nil, errUnsupported }
func fromFD(int, int) (*Device, error)        { return nil, errUnsupported }

func (d *device) gone() bool                            { return false }
func (d *device) mtu() int                              { return l3conn.DefaultMTU }
func (d *device) close() error                          { return errUnsupported }
func (d *device) read([]byte) (int, error)              { return 0, errUnsupported }
func (d *device) write([]byte) error                    { return errUnsupported }
func (d *device) setReadDeadline(time.Time) error       { return errUnsupported }
func (d *device) setWriteDeadline(time.Time) error      { return errUnsupported }
func (d *device) syscallConn() (syscall.RawConn, error) { return nil, errUnsupported }
func (d *device) caps(*Device) l3conn.Caps              { return l3conn.Caps{} }
