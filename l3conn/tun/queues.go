package tun

import (
	"errors"
	"fmt"
)

// maxQueues is Linux's limit (MAX_TAP_QUEUES).
const maxQueues = 256

// OpenQueues opens n queues of one interface, 1 to 256, each a Device of its own,
// for one reader each; nil and the fields of c are as for Open. The interface is
// there until the last is closed. With n = 1 it is Open; more only on Linux.
//
// The kernel puts the packets of a flow into the queue on which that flow was
// last written, those of a new flow into one chosen by a hash. Offload is the
// interface's: enable the same on every queue before the first is read, since
// what one enables comes to all.
func OpenQueues(c *Config, n int) ([]*Device, error) {
	var cfg Config
	if c != nil {
		cfg = *c
	}
	if n < 1 || n > maxQueues {
		return nil, fmt.Errorf("tun: %d queues are not within 1 and %d", n, maxQueues)
	}
	cfg.MultiQueue = cfg.MultiQueue || n > 1
	var queues []*Device
	for len(queues) < n {
		d, err := Open(&cfg)
		if err != nil {
			for _, q := range queues {
				err = errors.Join(err, q.Close())
			}
			return nil, err
		}
		queues = append(queues, d)
		// The interface is as it should be; the others only join it.
		cfg = Config{Name: d.Name(), NetNS: cfg.NetNS, MultiQueue: true, NoOffload: cfg.NoOffload, LeaveDown: true}
	}
	return queues, nil
}
