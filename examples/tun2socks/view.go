package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/charmbracelet/x/term"

	"l3extract/adapters/control"
	"l3extract/examples/tun2socks/internal/config"
	"l3extract/examples/tun2socks/internal/status"
)

var errNoTerminal = errors.New("-status needs a terminal; for programs there is -control, with GET /stats and /flows")

// isTerminal tells whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// viewer is what shows the program to its operator.
func (p *program) viewer() *control.Server {
	c := p.in.Config
	return &control.Server{
		Stack: p.stack, Forward: p.server, Causes: &p.causes, Describe: p.describe, Extra: p.extra,
		Config: func() []byte { return p.config().YAML() }, Version: version(), Token: c.ControlToken.Reveal(),
		Pprof: c.Pprof, Logger: p.log.Logger,
	}
}

// extra are the accounts of what stands beside the stack.
func (p *program) extra() map[string]any {
	all := map[string]any{"router": p.router.Stats()}
	if p.dns != nil {
		all["dns"] = p.dns.Stats()
	}
	if p.pool != nil {
		all["fakeip"] = p.pool.Stats()
	}
	p.mu.Lock()
	w := p.ways
	p.mu.Unlock()
	for name, f := range w.Failovers {
		for _, h := range f.Health() {
			all["failover_"+name+"_"+h.Name] = struct {
				Used, Down                               bool
				Checks, ChecksFailed, Dials, DialsFailed uint64
			}{h.Used, h.Down, h.Checks, h.ChecksFailed, h.Dials, h.DialsFailed}
		}
	}
	return all
}

// show has the screen until its user leaves it, and then prints what was logged last.
func (p *program) show(ctx context.Context, s status.Source, stdin io.Reader, stdout io.Writer) error {
	err := status.Show(ctx, s, p.device.Name(), p.screen, stdin, stdout)
	p.screen.Release(p.stderr)
	return err
}

// attach shows a program that runs, by its control socket.
func attach(ctx context.Context, c *config.Config, stdin io.Reader, stdout io.Writer) error {
	if c.Control == "" {
		return errors.New("-status: say -device, to run, or -control, to look at a program that does")
	}
	client, err := control.NewClient(c.Control.Reveal(), c.ControlToken.Reveal())
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.Stats(ctx); err != nil { // one line, before the screen is taken
		return err
	}
	return status.Show(ctx, client, c.Control.String(), nil, stdin, stdout)
}
