//go:build !linux

package privdrop

import (
	"errors"
	"fmt"
	"runtime"
)

func drop(*Config) error {
	return fmt.Errorf("privdrop: privileges are dropped on Linux only, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
