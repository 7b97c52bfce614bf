package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hidden are the sockets, and the directories with sockets, through which a
// program asks a resolver without using the network: they are files, so a
// network namespace does not hold them back. One that the host makes while the
// command runs cannot be hidden any more; none of these services comes and goes.
var hidden = []string{
	"/run/systemd/resolve", // systemd-resolved
	"/run/nscd",            // nscd, unscd, nsncd
	"/var/run/nscd",
	"/run/avahi-daemon", // Avahi
	"/var/run/avahi-daemon",
	"/run/mdnsd", // mDNSResponder
	"/var/run/mdnsd",
}

// tmpfs options: a few small files, and whoever has them open may not run them.
const (
	tmpfsFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	tmpfsData  = "mode=0755,size=1m"
)

// mounts changes what this mount namespace sees. It needs a place to keep the
// files that it puts over others, and borrows a directory for that: while a
// mounts lives, this process sees a file system of its own there.
type mounts struct {
	scratch string          // where our file system lies
	n       int             // names given out in it
	masks   map[string]bool // directories that are empty file systems of ours
}

// openMounts cuts this namespace off from the host's: nothing mounted here shows
// up there, while an unmount there still frees the device here too.
func openMounts() (*mounts, error) {
	if err := mount("none", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return nil, err
	}
	for _, dir := range []string{"/tmp", "/mnt", "/var/tmp", "/media", "/srv"} {
		if fi, err := os.Lstat(dir); err != nil || !fi.IsDir() {
			continue
		}
		if err := mount("l3run", dir, "tmpfs", tmpfsFlags, tmpfsData); err != nil {
			return nil, err
		}
		return &mounts{scratch: dir, masks: make(map[string]bool)}, nil
	}
	return nil, fmt.Errorf("no directory to work in: %w", fs.ErrNotExist)
}

// Close gives the borrowed directory back. What was put over other files stays.
func (m *mounts) Close() error {
	return os.NewSyscallError("umount "+m.scratch, unix.Unmount(m.scratch, unix.MNT_DETACH))
}

// file keeps content and returns its path.
func (m *mounts) file(content string) (string, error) {
	m.n++
	name := filepath.Join(m.scratch, fmt.Sprintf("file%d", m.n))
	return name, writeFile(name, content)
}

// hide makes path empty, if it is there.
func (m *mounts) hide(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil // what this user cannot reach the command cannot either
	}
	if err != nil {
		return err
	}
	fi, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case m.masks[path]:
		return nil
	case fi.IsDir():
		m.masks[path] = true
		return mount("l3run", path, "tmpfs", tmpfsFlags, tmpfsData)
	}
	empty, err := m.file("")
	if err != nil {
		return err
	}
	return mount(empty, path, "", unix.MS_BIND, "")
}

// masked tells whether path lies in a directory that hide made empty.
func (m *mounts) masked(path string) bool {
	for dir := range m.masks {
		if strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}

func mount(source, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		return os.NewSyscallError("mount "+target, err)
	}
	return nil
}

// writeFile makes a file that everyone may read, whatever the umask.
func writeFile(name, content string) error {
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Chmod(name, 0o644)
}
