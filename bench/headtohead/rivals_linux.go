package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// pasta makes its interface in the client's namespace. It has given up the right to
// look into other processes, and some versions all inherited files, when it opens that,
// so it needs a name for it: see named. It stays root, since a change of user would undo
// that it ends with us.
func pasta(self, dir string) func(w *world) (*process, error) {
	file := filepath.Join(dir, "client.netns")
	return func(w *world) (*process, error) {
		path, err := exec.LookPath("pasta")
		if err == nil {
			err = os.WriteFile(file, nil, 0o644)
		}
		if err != nil {
			return nil, err
		}
		cmd := &exec.Cmd{Path: self, Args: []string{
			roleNamed, file, path, "--foreground", "--quiet", "--runas", "0", "--ipv4-only",
			"--netns-only", "--netns", file, "--ns-ifname", tunName, "--config-net",
			"--interface", "out", "--address", clientNet + "2", "--netmask", "255.255.255.0", "--gateway", clientNet + "1",
			"--mtu", strconv.Itoa(w.mtu), "--no-map-gw",
			"--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
		}}
		cmd.ExtraFiles = []*os.File{w.client.f}
		return w.ethernet(cmd)
	}
}

// named is the role that becomes another program, for which the namespace inherited
// as the first file has a name: a file that it is mounted on where only that program
// sees it, so that nothing stays when it ends.
func named(file string, command []string) error {
	runtime.LockOSThread() // never unlocked: the thread becomes the program
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := unix.Mount("/proc/self/fd/3", file, "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	unix.CloseOnExec(3)
	return os.NewSyscallError("execve", unix.Exec(command[0], command, os.Environ()))
}

// slirp4netns makes its interface in the client's namespace, too.
func slirp4netns(w *world) (*process, error) {
	return w.ethernet(exec.Command("slirp4netns", "--configure", "--netns-type=path", "--disable-dns",
		"--mtu", strconv.Itoa(w.mtu), w.client.path(), tunName))
}

// hev is hev-socks5-tunnel, which needs a SOCKS5 server to reach anything. A plain one
// starts it, so that what it takes counts, too.
func hev(socks, dir string) *program {
	const name, server = "hev-socks5-tunnel", "127.0.0.1:1080"
	return &program{
		name: name, network: serverNet,
		prepare: func(ctx context.Context, dir string) error {
			if err := installed(name)(ctx, dir); err != nil {
				return err
			}
			return run(ctx, "", "go", "build", "-o", socks, "./socks")
		},
		start: tunnel(func(w *world) (*exec.Cmd, error) {
			config := filepath.Join(dir, fmt.Sprint(name, "-", w.mtu, ".yml"))
			return exec.Command(socks, server, name, config), os.WriteFile(config, hevConfig(w.mtu), 0o600)
		}),
	}
}

func hevConfig(mtu int) []byte {
	return fmt.Appendf(nil, `tunnel:
  name: %s
  mtu: %d
  ipv4: 198.18.0.1
socks5:
  address: 127.0.0.1
  port: 1080
  udp: udp
misc:
  limit-nofile: 20000
  log-level: error
`, tunName, mtu)
}

// ethernet starts a program that makes and configures an interface in the client's
// namespace.
func (w *world) ethernet(cmd *exec.Cmd) (*process, error) {
	p, err := w.middle.start(cmd, w.limit)
	if err != nil {
		return nil, err
	}
	return p, w.appear(p, w.client)
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
