//go:build !linux

package direct

import (
	"context"
	"errors"
	"testing"
)

// TestUnsupported: where a mark cannot be had, that is the error, and nothing leaves
// without it.
func TestUnsupported(t *testing.T) {
	d := &Dialer{Mark: 1}
	if _, err := d.DialContext(context.Background(), "tcp", "127.0.0.1:1"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("mark: %v, want ErrUnsupported", err)
	}
}
