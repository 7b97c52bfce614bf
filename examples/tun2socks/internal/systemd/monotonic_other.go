//go:build !linux

package systemd

import "time"

// monotonic is 0: there is no systemd here that asks for it.
func monotonic() time.Duration { return 0 }
