package main

import (
	"os"
	"testing"

	"l3extract/internal/leak"
)

// programName is the name under which the test binary is the program.
const programName = "tun2socks (test)"

func TestMain(m *testing.M) {
	if os.Args[0] == programName {
		main()
	}
	leak.Main(m)
}
