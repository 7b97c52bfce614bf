//go:build !linux

package exampletest

import (
	"testing"

	"l3extract/internal/leak"
)

// noTUN says why the tests that need a TUN cannot run.
const noTUN = "no network namespaces on this system"

// Main is TestMain of an example. Goroutines that are left behind are a failure.
func Main(m *testing.M) { leak.Main(m) }
