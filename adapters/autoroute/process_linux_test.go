package autoroute

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l3extract/adapters/privdrop"
	"l3extract/l3conn/tun"
)

// asInstance names the state directory of an instance that TestKill9 starts.
const asInstance = "AUTOROUTE_TEST_INSTANCE"

// TestKill9 kills an instance with SIGKILL: while it lives a second one is refused and
// told of it, when it is dead nothing gets out, and the next one takes over.
func TestKill9(t *testing.T) {
	if dir := os.Getenv(asInstance); dir != "" {
		if _, err := tun.Open(&tun.Config{Name: tunName, LeaveDown: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := Setup(&Config{Device: tunName, StateDir: dir, Strict: true}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
		return
	}
	host, _ := newHost(t)
	before := host.snapshot()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill9$")
	cmd.Env = append(os.Environ(), asInstance+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	stdin, err := cmd.StdinPipe()
	must(t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	host.do(func() { must(t, cmd.Start()) })
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	cfg := Config{Device: "l3other", StateDir: dir, Strict: true}
	host.open("l3other")
	_, err = host.setup(cfg)
	if !errors.Is(err, errBusy) || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for query, want := range map[string]string{"198.51.100.1": "", "2001:db8:2::1": "", gw4 + " ipproto udp dport 53": "", gw4: "lan0"} {
		if got := host.way(query); got != want {
			t.Errorf("%s goes by %q, want %q", query, got, want)
		}
	}
	r := host.mustSetup(cfg)
	if got := host.way("198.51.100.1"); got != "l3other" {
		t.Errorf("goes by %q", got)
	}
	host.do(func() { must(t, join(r.Close(), Cleanup(&cfg))) })
	host.ip("link del l3other")
	if after := host.snapshot(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestUndoneByNobody: a process that has become somebody else and has kept CAP_NET_ADMIN
// alone undoes everything.
func TestUndoneByNobody(t *testing.T) {
	if !inHost(t) {
		return
	}
	here := newHere(t)
	cable(t, here)
	here.sysctl("net/ipv4/conf/lan0/rp_filter", "1")
	before := here.snapshot()
	dir := os.Getenv(asHost) // who it becomes could not remove one of its own
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	path := filepath.Join(dir, "resolv.conf")
	must(t, os.WriteFile(path, []byte(wasResolv), 0o644))
	dev, err := tun.Open(&tun.Config{Name: tunName, LeaveDown: true})
	must(t, err)
	states := filepath.Join(dir, "state")
	r, err := Setup(&Config{Device: tunName, StateDir: states, DNS: addrs("10.0.0.1"), ResolvConf: path})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(states, "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	state, err := os.Open(files[0])
	must(t, err)
	defer state.Close()
	must(t, privdrop.Drop(&privdrop.Config{User: "65534:65534", Keep: []privdrop.Capability{privdrop.NetAdmin}}))
	must(t, r.Close())
	must(t, dev.Close())
	if got, err := os.ReadFile(path); err != nil || string(got) != wasResolv {
		t.Errorf("resolv.conf: %q, %v", got, err)
	}
	if b, err := io.ReadAll(state); err != nil || len(b) > 0 {
		t.Errorf("the state is left: %q, %v", b, err)
	}
	if out, err := here.run("cat /proc/sys/net/ipv4/conf/lan0/rp_filter"); err != nil || strings.TrimSpace(out) != "1" {
		t.Errorf("the filter is %s, %v", out, err)
	}
	if after := here.snapshot(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
