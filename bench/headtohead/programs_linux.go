package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

// program is one that the measurements go through.
type program struct {
	name    string
	aside   bool   // only if it is named
	network string // whose last byte is the destination's
	// prepare finds or builds it; the error says why it is left out.
	prepare func(ctx context.Context, dir string) error
	// start brings it up in w; there is no process where the kernel does it.
	start func(w *world) (*process, error)
}

// programs are all that are known, with their binaries in dir. Ours is built from the
// module in the folder source.
func programs(self, source, dir string) []*program {
	bin := func(name string) string { return filepath.Join(dir, name) }
	ours := bin("ours")
	build := func(ctx context.Context, _ string) error { // again is cheap
		return run(ctx, source, "go", "build", "-o", ours, "./examples/tun2socks")
	}
	known := []*program{
		{name: "none", network: serverNet, start: func(w *world) (*process, error) { return nil, w.veth() }},
		copying("proxy-1", bin("proxy"), "GOMAXPROCS=1"),
		copying("proxy", bin("proxy")),
		{name: "ours", network: serverNet, prepare: build, start: tunnel(tun2socks(ours))},
		{
			name: "ours-1", network: serverNet,
			prepare: func(ctx context.Context, dir string) error {
				if runtime.NumCPU() <= 2 {
					return errors.New("ours has GOMAXPROCS 1 by itself on so few processors")
				}
				return build(ctx, dir)
			},
			start: tunnel(tun2socks(ours), "GOMAXPROCS=1"),
		},
		{
			name: "ours-all", network: serverNet, prepare: build,
			start: tunnel(tun2socks(ours), fmt.Sprint("GOMAXPROCS=", runtime.NumCPU())),
		},
		{
			name: "ours-workers", network: serverNet, prepare: build,
			start: tunnel(tun2socks(ours, "-workers", strconv.Itoa(runtime.NumCPU()))),
		},
		plain("ours-plain", bin("baseline"), source, "-ours"),
		plain("baseline", bin("baseline"), source),
		{
			name: "tun2socks", network: serverNet,
			prepare: module("github.com/xjasonlyu/tun2socks/v2", "v2.6.0", "", "", bin("tun2socks")),
			start:   tunnel(tun2socks(bin("tun2socks"))),
		},
		{
			name: "sing-box", network: serverNet,
			prepare: module("github.com/sagernet/sing-box", "v1.14.1", "/cmd/sing-box", "with_gvisor", bin("sing-box")),
			start: tunnel(func(w *world) (*exec.Cmd, error) {
				config := bin(fmt.Sprint("sing-box-", w.mtu, ".json"))
				return exec.Command(bin("sing-box"), "run", "-c", config), os.WriteFile(config, singBox(w.mtu, map[string]any{"type": "direct"}), 0o600)
			}),
		},
		{name: "pasta", network: serverNet, prepare: installed("pasta"), start: pasta(self, dir)},
		{name: "slirp4netns", network: serverNet, prepare: installed("slirp4netns"), start: slirp4netns},
		hev(bin("socks"), dir),
	}
	return append(known, throughSOCKS(known, bin)...)
}

// installed finds a program of the system.
func installed(name string) func(context.Context, string) error {
	return func(context.Context, string) error {
		_, err := exec.LookPath(name)
		return err
	}
}

// tun2socks is the command line that two programs share.
func tun2socks(path string, more ...string) func(w *world) (*exec.Cmd, error) {
	return func(w *world) (*exec.Cmd, error) {
		args := append([]string{"-device", "tun://" + tunName, "-mtu", strconv.Itoa(w.mtu), "-proxy", "direct://",
			"-loglevel", "error"}, more...)
		return exec.Command(path, args...), nil
	}
}

// singBox is its configuration. Its gVisor stack is the one of its three that ends
// TCP outside the kernel, and that works when the client is in another namespace.
func singBox(mtu int, outbound map[string]any) []byte {
	type m = map[string]any
	b, err := json.Marshal(m{
		"log": m{"level": "error"},
		"inbounds": []m{{
			"type": "tun", "interface_name": tunName, "mtu": mtu, "stack": "gvisor",
			"address": []string{"198.18.0.1/30"}, "auto_route": false,
		}},
		"outbounds": []m{outbound},
	})
	if err != nil {
		panic(err) // only strings and numbers
	}
	return b
}

// plain is a relay of TCP behind a TUN without offload.
func plain(name, path, source string, args ...string) *program {
	return &program{
		name: name, network: serverNet, aside: true,
		prepare: func(ctx context.Context, _ string) error {
			return run(ctx, source, "go", "build", "-o", path, "./bench/baseline")
		},
		start: tunnel(func(w *world) (*exec.Cmd, error) {
			return exec.Command(path, append([]string{"-tun", tunName, "-mtu", strconv.Itoa(w.mtu)}, args...)...), nil
		}, "GOMAXPROCS=1"),
	}
}

// copying is the plain proxy, with additions to its environment.
func copying(name, path string, env ...string) *program {
	return &program{
		name: name, network: proxyNet,
		prepare: func(ctx context.Context, _ string) error { return run(ctx, "", "go", "build", "-o", path, "./proxy") },
		start: func(w *world) (*process, error) {
			cmd := exec.Command(path, proxyNet, serverNet, port)
			cmd.Env = append(os.Environ(), env...)
			p, err := w.middle.start(cmd, w.limit)
			if err != nil {
				return nil, err
			}
			return p, w.veth()
		},
	}
}

// tunnel is a program that makes the TUN, with additions to its environment.
func tunnel(command func(w *world) (*exec.Cmd, error), env ...string) func(w *world) (*process, error) {
	return func(w *world) (*process, error) {
		cmd, err := command(w)
		if err != nil {
			return nil, err
		}
		cmd.Env = append(os.Environ(), env...)
		p, err := w.middle.start(cmd, w.limit)
		if err != nil {
			return nil, err
		}
		return p, w.moveTUN(p)
	}
}
