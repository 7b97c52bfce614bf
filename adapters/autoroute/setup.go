package autoroute

// Setup leads the host's traffic into the tunnel as cfg says, in the network namespace
// of the calling thread. It takes over what an instance that was killed has left, and
// refuses with one clear error if another one lives. When it fails it has undone what
// it did, but keeps what refused traffic before, if cfg.Strict is set. It needs
// CAP_NET_ADMIN, and root's rights on the files in cfg. Close, which needs the former,
// has to be called in the same namespace.
func Setup(cfg *Config) (*Routes, error) { return setup(cfg) }

// Cleanup removes all that Setup has left in this network namespace: rules, routes, and
// what its file tells of. Of cfg only StateDir counts; nil is fine. It refuses if an
// instance lives, and is no error if there is nothing to do.
func Cleanup(cfg *Config) error { return cleanup(cfg) }
