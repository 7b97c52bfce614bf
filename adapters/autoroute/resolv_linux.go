package autoroute

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// resolvBackup is a resolv.conf that was replaced.
type resolvBackup struct {
	Path    string      `json:"path"`
	Existed bool        `json:"existed"`
	Link    string      `json:"link,omitempty"` // target, if it was a symbolic link
	Content []byte      `json:"content"`
	Mode    fs.FileMode `json:"mode"`
	UID     int         `json:"uid"`
	GID     int         `json:"gid"`
	Ours    []byte      `json:"ours"`  // what took its place
	State   string      `json:"state"` // the file of the instance's state
}

// backUpResolv reads the file and says what is to take its place. State is the file of
// the instance that does this.
func backUpResolv(path string, servers []netip.Addr, state string) (*resolvBackup, error) {
	b := &resolvBackup{Path: path, Mode: 0o644, State: state}
	fi, err := os.Lstat(path)
	if err == nil {
		b.Existed = true
		if fi.Mode()&fs.ModeSymlink != 0 {
			b.Link, err = os.Readlink(path)
		} else {
			b.Mode = fi.Mode().Perm()
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				b.UID, b.GID = int(st.Uid), int(st.Gid)
			}
		}
	}
	if err == nil {
		b.Content, err = os.ReadFile(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a link to nowhere is a link
		return nil, err
	}
	b.Ours, err = b.ownResolv(servers)
	return b, err
}

// replace puts ours in the place of the file. What it returns is open for writing, for
// a process that gives up its rights later.
func (b *resolvBackup) replace() (*os.File, error) {
	if err := atomically(b.Path, b.Ours, b.Mode, b.UID, b.GID); err != nil {
		if !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
		// It is mounted there, as containers have it: nothing can take its place.
		if err := os.WriteFile(b.Path, b.Ours, b.Mode); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(b.Path, os.O_RDWR, 0)
}

// restore puts back what was there, unless somebody else has written the file since.
// Without the rights for that it writes the old content by f, if f is there.
func (b *resolvBackup) restore(f *os.File) error {
	now, err := os.ReadFile(b.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ours := err == nil && bytes.Equal(now, b.Ours)
	halfway := err == nil && b.Link != "" && bytes.Equal(now, b.Content) && !isLink(b.Path)
	if !ours && !halfway {
		return nil
	}
	switch {
	case !b.Existed:
		err = os.Remove(b.Path)
	case b.Link != "":
		err = relink(b.Path, b.Link)
	default:
		err = atomically(b.Path, b.Content, b.Mode, b.UID, b.GID)
	}
	if errors.Is(err, unix.EBUSY) {
		err = os.WriteFile(b.Path, b.Content, b.Mode)
	}
	if f == nil || !errors.Is(err, fs.ErrPermission) || !sameFile(f, b.Path) {
		return err
	}
	if terr := f.Truncate(0); terr != nil {
		return err
	}
	if _, werr := f.WriteAt(b.Content, 0); werr != nil {
		return err
	}
	if b.Link != "" || !b.Existed {
		return fmt.Errorf("%s has its content again, but is an ordinary file; Cleanup with more rights puts the rest right: %w", b.Path, err)
	}
	return nil
}

func isLink(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && fi.Mode()&fs.ModeSymlink != 0
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// atomically replaces path, and a symbolic link that is there, by a file.
func atomically(path string, content []byte, mode fs.FileMode, uid, gid int) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".resolv.conf-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it has been renamed
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Chown(uid, gid), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// relink replaces path by a symbolic link.
func relink(path, target string) error {
	tmp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".resolv.conf-%d", os.Getpid()))
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return nil
}
