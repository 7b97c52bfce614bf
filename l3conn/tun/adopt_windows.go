package tun

import (
	"errors"
	"fmt"
	"os"
)

// defaultName is the adapter's; Windows has no pattern for a free one.
const defaultName = "l3extract"

func fromFile(*os.File, int) (*Device, error) {
	return nil, fmt.Errorf("tun: taking over an open TUN on Windows: %w", errors.ErrUnsupported)
}

func fromFD(int, int) (*Device, error) { return fromFile(nil, 0) }
