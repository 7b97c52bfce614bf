//go:build !linux

package main

import "os"

// hideArgs returns the arguments of the program. What other users see of them is this
// system's business.
func hideArgs() []string { return os.Args[1:] }
