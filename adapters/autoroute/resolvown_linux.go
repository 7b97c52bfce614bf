package autoroute

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A resolv.conf of ours holds what it has replaced, in comments: the state is lost when
// the host crashes, because /run is, and this file is not.
const (
	header  = "# Written by l3extract's autoroute, which puts back what was here.\n"
	keeping = "#l3extract "
	width   = 96 // of a line of these: musl skips what is longer than 255
)

// ownResolv is what a resolv.conf(5) says, but for its servers, and b itself.
func (b *resolvBackup) ownResolv(servers []netip.Addr) ([]byte, error) {
	var out strings.Builder
	out.WriteString(header)
	for _, a := range servers {
		fmt.Fprintln(&out, "nameserver", a)
	}
	for line := range strings.Lines(string(b.Content)) {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == "search" || f[0] == "domain" || f[0] == "options") {
			fmt.Fprintln(&out, strings.Join(f, " "))
		}
	}
	kept := *b
	kept.Path, kept.Ours = "", nil
	text, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	for text := base64.StdEncoding.EncodeToString(text); text != ""; {
		n := min(len(text), width)
		fmt.Fprintln(&out, keeping+text[:n])
		text = text[n:]
	}
	return []byte(out.String()), nil
}

// keptIn returns what a resolv.conf of ours at path has replaced; nil if it is not ours
// or does not tell.
func keptIn(path string) *resolvBackup {
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return nil
	}
	now, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(now), header) {
		return nil
	}
	var text strings.Builder
	for line := range strings.Lines(string(now)) {
		if part, ok := strings.CutPrefix(line, keeping); ok {
			text.WriteString(strings.TrimSpace(part))
		}
	}
	b := new(resolvBackup)
	kept, err := base64.StdEncoding.DecodeString(text.String())
	if err != nil || json.Unmarshal(kept, b) != nil {
		return nil
	}
	b.Path, b.Ours, b.Mode = path, now, b.Mode.Perm()
	return b
}

// recoverResolv puts back what a resolv.conf of ours has replaced if the state of its
// instance is lost. Mine is the state of this one; errBusy says that the other lives, in
// another network namespace.
func recoverResolv(path, mine string) error {
	b := keptIn(path)
	if b == nil {
		return nil
	}
	if b.State != mine {
		if alive, err := locked(b.State); err != nil {
			return err
		} else if alive {
			return fmt.Errorf("%s is that of %s: %w", path, b.State, errBusy)
		}
	}
	return b.restore(nil)
}

// locked tells whether the instance with this state lives.
func locked(state string) (bool, error) {
	f, err := os.OpenFile(state, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	return errors.Is(err, unix.EWOULDBLOCK), nil
}
