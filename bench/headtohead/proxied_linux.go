package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// socksAddress is that of the SOCKS5 server through which some programs go.
const socksAddress = "127.0.0.1:1080"

// proxied is a program that goes through a SOCKS5 server, the same for all. The server
// is a process of its own: what it takes does not count.
func proxied(p *program, name, socks string, command func(w *world) (*exec.Cmd, error)) *program {
	prepare := p.prepare
	start := tunnel(command)
	return &program{
		name: name, network: serverNet, aside: true,
		prepare: func(ctx context.Context, dir string) error {
			if err := prepare(ctx, dir); err != nil {
				return err
			}
			return run(ctx, "", "go", "build", "-o", socks, "./socks")
		},
		start: func(w *world) (*process, error) {
			server, err := w.middle.start(exec.Command(socks, socksAddress), w.limit)
			if err != nil {
				return nil, err
			}
			w.beside = append(w.beside, server)
			return start(w)
		},
	}
}

// throughSOCKS are programs through the proxy: ours, ours with its handshake in one
// piece and with a pool of connections, and two of the others.
func throughSOCKS(known []*program, bin func(string) string) (all []*program) {
	by := make(map[string]*program)
	for _, p := range known {
		by[p.name] = p
	}
	socks := bin("socks")
	tun2socks := func(name, query string) func(w *world) (*exec.Cmd, error) {
		return func(w *world) (*exec.Cmd, error) {
			return exec.Command(bin(name), "-device", "tun://"+tunName, "-mtu", strconv.Itoa(w.mtu),
				"-proxy", "socks5://"+socksAddress+query, "-loglevel", "error"), nil
		}
	}
	return []*program{
		proxied(by["ours"], "ours-socks", socks, tun2socks("ours", "")),
		proxied(by["ours"], "ours-socks-pool", socks, tun2socks("ours", "?pipeline=true&pool=64")),
		proxied(by["tun2socks"], "tun2socks-socks", socks, tun2socks("tun2socks", "")),
		proxied(by["sing-box"], "sing-box-socks", socks, func(w *world) (*exec.Cmd, error) {
			config := bin(fmt.Sprint("sing-box-socks-", w.mtu, ".json"))
			return exec.Command(bin("sing-box"), "run", "-c", config), os.WriteFile(config, singBox(w.mtu, map[string]any{
				"type": "socks", "server": "127.0.0.1", "server_port": 1080,
			}), 0o600)
		}),
	}
}

// stopBeside ends what runs beside the programs.
func (w *world) stopBeside() {
	for _, p := range w.beside {
		p.stop()
	}
	w.beside = nil
}
