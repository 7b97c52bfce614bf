package autoroute

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// state is what has to be undone and cannot be recognised.
type state struct {
	PID     int               `json:"pid"`
	Device  string            `json:"device"`
	Filters map[string]string `json:"rp_filter,omitempty"`
	Resolv  *resolvBackup     `json:"resolv,omitempty"`
}

// stateFile is open, and locked, for as long as routes are set up. The lock ends with
// the process, however that ends; the file stays, and is empty when there is nothing
// to undo.
type stateFile struct{ f *os.File }

// errBusy says that another instance lives.
var errBusy = errors.New("another instance has set up routes here: end it first")

// openState locks the file of this network namespace and reads what an instance that is
// dead has left.
func openState(dir string) (*stateFile, state, error) {
	var st state
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, st, fmt.Errorf("autoroute: Config.StateDir: %w", err)
	}
	var ns unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &ns); err != nil {
		return nil, st, fmt.Errorf("autoroute: this network namespace: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("autoroute-%d", ns.Ino)), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, st, fmt.Errorf("autoroute: Config.StateDir: %w", err)
	}
	if err := ours(f); err != nil {
		f.Close()
		return nil, st, err
	}
	lockErr := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	b, err := io.ReadAll(f)
	if err == nil && len(b) > 0 {
		err = json.Unmarshal(b, &st)
	}
	switch {
	case errors.Is(lockErr, unix.EWOULDBLOCK):
		f.Close()
		return nil, st, fmt.Errorf("autoroute: process %d, device %s: %w", st.PID, st.Device, errBusy)
	case lockErr != nil:
		f.Close()
		return nil, st, fmt.Errorf("autoroute: lock %s: %w", f.Name(), lockErr)
	case err != nil:
		f.Close()
		return nil, st, fmt.Errorf("autoroute: %s (remove it to go on without undoing what it says): %w", f.Name(), err)
	}
	return &stateFile{f}, st, nil
}

// ours refuses a file that somebody else could have written: it says what is to be put
// where.
func ours(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("autoroute: Config.StateDir: %w", err)
	}
	if mine := int(st.Uid) == os.Geteuid() || st.Uid == 0; !mine || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o022 != 0 {
		return fmt.Errorf("autoroute: Config.StateDir: %s: belongs to user %d with mode %#o, so others could have written it", f.Name(), st.Uid, st.Mode&0o7777)
	}
	return nil
}

// write replaces what the file says. It works for a process that has given up its
// rights, too.
func (s *stateFile) write(st state) error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return s.put(b)
}

// clear says that there is nothing to undo.
func (s *stateFile) clear() error { return s.put(nil) }

func (s *stateFile) put(b []byte) error {
	if err := s.f.Truncate(0); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if _, err := s.f.WriteAt(b, 0); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// close ends the lock.
func (s *stateFile) close() { _ = s.f.Close() } // nothing is buffered
