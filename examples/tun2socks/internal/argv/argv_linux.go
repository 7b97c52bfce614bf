package argv

import (
	"os"
	"strings"
	"unsafe"

	"l3extract/examples/tun2socks/internal/config"
)

// Hide returns the arguments of the program, and overwrites the credentials of URLs in
// those that the system shows to everybody (ps, /proc/PID/cmdline). Until that was done they
// could be seen; a file or a variable of the environment never is.
func Hide() []string {
	args := make([]string, 0, len(os.Args))
	for _, a := range os.Args[1:] {
		args = append(args, strings.Clone(a))
		hidden := config.Redact(a)
		if hidden == a || len(hidden) > len(a) {
			continue
		}
		hidden += strings.Repeat(" ", len(a)-len(hidden))
		// os.Args lie where the kernel put them: on the stack of the process, which may be
		// written.
		copy(unsafe.Slice(unsafe.StringData(a), len(a)), hidden)
	}
	return args
}
