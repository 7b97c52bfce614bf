//go:build !linux

package forward

const polled = false

func fileLimit() int { return 0 } // the tests that need many skip
func openFiles() int { return 0 }
