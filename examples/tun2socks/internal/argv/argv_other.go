//go:build !linux

package argv

import "os"

// Hide returns the arguments of the program. What other users see of them is this
// system's business.
func Hide() []string { return os.Args[1:] }
