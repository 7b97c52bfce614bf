// Package systemd tells systemd what the program does, if it runs as a service of it; else
// nothing happens.
package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// What systemd is told.
const (
	Ready    = daemon.SdNotifyReady
	Stopping = daemon.SdNotifyStopping
)

// Reloading has the time, as units of Type=notify-reload want it.
func Reloading() string {
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, monotonic().Microseconds())
}

// Notify tells it the state, and log if that fails.
func Notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd cannot be told", "err", err)
	}
}

// Watchdog tells it that the program is well, as often as it wants to hear it, until ctx ends:
// as long as well returns.
func Watchdog(ctx context.Context, log *slog.Logger, well func()) {
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
			well()
			Notify(log, daemon.SdNotifyWatchdog)
		}
	}
}
