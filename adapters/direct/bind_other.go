//go:build !linux && !darwin

package direct

import (
	"errors"
	"fmt"
	"runtime"
)

// bind always fails: it is called only if there is something to bind to.
func (d *Dialer) bind(int, string, string) error {
	return fmt.Errorf("direct: Dialer.Mark and Dialer.Interface need another system than %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
