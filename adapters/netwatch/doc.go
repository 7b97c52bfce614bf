// Package netwatch follows the default routes of a host (Linux): by which interface
// they lead, and which of the ways out that somebody may still be using are lost. It
// listens to the kernel by netlink and asks nothing while nothing changes.
//
//	watch, err := netwatch.New(&netwatch.Config{Skip: []string{"tun0"}, Changed: func(_, _ netwatch.Defaults) {
//		server.EndVia(watch.Lost)
//	}})
//	go watch.Run(ctx)
//	dialer := &direct.Dialer{InterfaceOf: watch.Interface}
package netwatch
