//go:build !linux

package netwatch

import (
	"errors"
	"fmt"
	"runtime"
)

func open([]string) (source, error) {
	return nil, fmt.Errorf("default routes are followed on Linux only, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
