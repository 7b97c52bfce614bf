package main

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// What systemd is told. Where the program is not its service nothing is.
const (
	ready    = daemon.SdNotifyReady
	stopping = daemon.SdNotifyStopping
)

// reloading has the time, as units of Type=notify-reload want it.
func reloading() string {
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, monotonic().Microseconds())
}

func (p *program) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		p.log.Warn("systemd cannot be told", "err", err)
	}
}

// notifyWatchdog tells systemd that the program is well, as often as it wants to hear it, until
// ctx ends: as long as the stack gives its account, which takes its locks.
func (p *program) notifyWatchdog(ctx context.Context) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return
	}
	tick := time.NewTicker(every / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.stack.Stats()
			p.server.Stats()
			p.notify(daemon.SdNotifyWatchdog)
		}
	}
}
