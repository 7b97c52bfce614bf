package ether

import (
	"testing"

	"l3extract/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
