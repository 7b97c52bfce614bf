//go:build !linux

package main

import (
	"context"
	"errors"
	"io"
)

// serveWorkers fails: interfaces of other systems have one queue.
func (p *program) serveWorkers(context.Context, io.Writer) error {
	return errors.New("-workers needs Linux, whose TUN interfaces can have several queues")
}
