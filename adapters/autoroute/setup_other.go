//go:build !linux

package autoroute

import (
	"errors"
	"fmt"
	"runtime"
)

// Routes is what Setup has set up: nothing on this system.
type Routes struct{ _ int }

// Close returns nil.
func (*Routes) Close() error { return nil }

// Mark returns 0.
func (*Routes) Mark() uint32 { return 0 }

func setup(cfg *Config) (*Routes, error) {
	c := cfg.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	return nil, unsupported()
}

func cleanup(*Config) error { return unsupported() }

func unsupported() error {
	return fmt.Errorf("autoroute: routes are set up on Linux only, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
