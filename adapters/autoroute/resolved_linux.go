package autoroute

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// resolvedLimit bounds one call of resolvectl.
const resolvedLimit = 5 * time.Second

// usesResolved tells whether the host asks systemd-resolved, and whether it can be told
// something.
func usesResolved(resolvConf string) bool {
	if _, err := exec.LookPath("resolvectl"); err != nil {
		return false
	}
	if target, err := os.Readlink(resolvConf); err == nil && strings.Contains(target, "systemd/resolve/") {
		return true
	}
	b, _ := os.ReadFile(resolvConf)
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) > 1 && string(f[0]) == "nameserver" && (string(f[1]) == "127.0.0.53" || string(f[1]) == "127.0.0.54") {
			return true
		}
	}
	return false
}

// setResolved has systemd-resolved ask the servers by way of the interface, for all
// names. It forgets that when the interface goes.
func setResolved(device string, servers []netip.Addr) error {
	args := []string{"dns", device}
	for _, a := range servers {
		args = append(args, a.String())
	}
	for _, args := range [][]string{args, {"domain", device, "~."}, {"default-route", device, "true"}} {
		if err := resolvectl(args...); err != nil {
			return err
		}
	}
	return nil
}

// revertResolved is for an interface that stays.
func revertResolved(device string) { _ = resolvectl("revert", device) } // or it has gone, which is as well

func resolvectl(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), resolvedLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "resolvectl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("resolvectl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
