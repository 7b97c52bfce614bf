package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// program is one that the measurements go through.
type program struct {
	name    string
	network string // whose last byte is the destination's
	// prepare finds or builds it; the error says why it is left out.
	prepare func(ctx context.Context, dir string) error
	// start brings it up in w; there is no process where the kernel does it.
	start func(w *world) (*process, error)
}

// visitLimit ends whatever a visit started and did not end.
const visitLimit = 3 * time.Minute

// programs are all that are known, with their binaries in dir.
func programs(self, dir string) []*program {
	bin := func(name string) string { return filepath.Join(dir, name) }
	config := bin("sing-box.json")
	return []*program{
		{name: "none", network: serverNet, start: func(w *world) (*process, error) { return nil, w.veth() }},
		copying("proxy-1", self, "GOMAXPROCS=1"),
		copying("proxy", self),
		{
			name: "ours", network: serverNet,
			prepare: func(ctx context.Context, _ string) error {
				return run(ctx, "", "go", "build", "-o", bin("ours"), "./examples/tun2socks")
			},
			start: tunnel(bin("ours"), "-device", "tun://"+tunName, "-mtu", "1500", "-proxy", "direct://", "-loglevel", "error"),
		},
		{
			name: "tun2socks", network: serverNet,
			prepare: module("github.com/xjasonlyu/tun2socks/v2", "v2.6.0", "", "", bin("tun2socks")),
			start: tunnel(bin("tun2socks"), "-device", "tun://"+tunName, "-mtu", "1500", "-proxy", "direct://",
				"-loglevel", "error"),
		},
		{
			name: "sing-box", network: serverNet,
			prepare: func(ctx context.Context, dir string) error {
				return errors.Join(
					module("github.com/sagernet/sing-box", "v1.14.1", "/cmd/sing-box", "with_gvisor", bin("sing-box"))(ctx, dir),
					os.WriteFile(config, singBox(), 0o600))
			},
			start: tunnel(bin("sing-box"), "run", "-c", config),
		},
	}
}

// singBox is its configuration. Its gVisor stack is the one of its three that ends
// TCP outside the kernel, and that works when the client is in another namespace.
func singBox() []byte {
	type m = map[string]any
	b, err := json.Marshal(m{
		"log": m{"level": "error"},
		"inbounds": []m{{
			"type": "tun", "interface_name": tunName, "mtu": 1500, "stack": "gvisor",
			"address": []string{"198.18.0.1/30"}, "auto_route": false,
		}},
		"outbounds": []m{{"type": "direct"}},
	})
	if err != nil {
		panic(err) // only strings and numbers
	}
	return b
}

// copying is the plain proxy, with additions to its environment.
func copying(name, self string, env ...string) *program {
	return &program{name: name, network: proxyNet, start: func(w *world) (*process, error) {
		cmd := &exec.Cmd{Path: self, Args: []string{roleProxy}, Env: append(os.Environ(), env...)}
		p, err := w.middle.start(cmd, visitLimit)
		if err != nil {
			return nil, err
		}
		return p, w.veth()
	}}
}

// tunnel is a program that makes the TUN.
func tunnel(path string, args ...string) func(w *world) (*process, error) {
	return func(w *world) (*process, error) {
		p, err := w.middle.start(exec.Command(path, args...), visitLimit)
		if err != nil {
			return nil, err
		}
		return p, w.moveTUN(p)
	}
}

// module returns what builds a command of exactly this version of a module, in a
// module of its own that requires nothing else. It is built once: the user's cache
// keeps it.
func module(path, version, command, tags, out string) func(ctx context.Context, dir string) error {
	return func(ctx context.Context, dir string) error {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		kept := filepath.Join(cache, "l3extract-headtohead", filepath.Base(out)+"-"+version)
		if _, err := os.Stat(kept); err != nil {
			if err := build(ctx, out+".module", kept, path, version, command, tags); err != nil {
				return err
			}
		}
		return os.Symlink(kept, out)
	}
}

// build makes the module in scratch and builds the command to out. The go line has
// the Go command look only at those requirements of requirements that it needs.
func build(ctx context.Context, scratch, out, path, version, command, tags string) error {
	file := fmt.Sprintf("module scratch\n\ngo 1.26\n\nrequire %s %s\n", path, version)
	use := fmt.Sprintf("package main\n\nimport _ %q\n", path+command)
	if err := errors.Join(
		os.MkdirAll(scratch, 0o755), os.MkdirAll(filepath.Dir(out), 0o755),
		os.WriteFile(filepath.Join(scratch, "go.mod"), []byte(file), 0o644),
		os.WriteFile(filepath.Join(scratch, "use.go"), []byte(use), 0o644),
	); err != nil {
		return err
	}
	if err := run(ctx, scratch, "go", "get", path+"@"+version); err != nil {
		return err
	}
	return run(ctx, scratch, "go", "build", "-mod=mod", "-tags", tags, "-o", out, path+command)
}

// run runs a command to its end.
func run(ctx context.Context, dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, out.String())
	}
	return nil
}

const buildTime = 10 * time.Minute
