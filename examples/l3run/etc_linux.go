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

// put makes each path hold its content, in this mount namespace alone. A file
// that is there gets ours mounted over it, through symbolic links, because
// programs follow them too. Where there is none, nothing can be mounted over it
// and the host's directory must not change: then the directory is rebuilt.
func (m *mounts) put(contents map[string]string) error {
	missing := make(map[string]map[string]string) // directory, name, content
	for path, content := range contents {
		target, err := follow(path)
		if err != nil {
			return err
		}
		fi, err := os.Lstat(target)
		switch {
		case err == nil && !fi.IsDir():
			if err := m.cover(target, content); err != nil {
				return err
			}
		case m.masked(target):
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			if err := writeFile(target, content); err != nil {
				return err
			}
		case errors.Is(err, fs.ErrNotExist):
			dir, name := filepath.Split(path)
			if missing[dir] == nil {
				missing[dir] = make(map[string]string)
			}
			missing[dir][name] = content
		case err != nil:
			return err
		default:
			return &fs.PathError{Op: "replace", Path: target, Err: unix.EISDIR}
		}
	}
	for dir, own := range missing {
		if err := m.rebuild(dir, own); err != nil {
			return err
		}
	}
	return nil
}

func (m *mounts) cover(target, content string) error {
	name, err := m.file(content)
	if err != nil {
		return err
	}
	return mount(name, target, "", unix.MS_BIND, "")
}

// rebuild puts a directory over dir that holds the same entries, each mounted
// from the old one, and our own files instead of or beside them.
func (m *mounts) rebuild(dir string, own map[string]string) error {
	m.n++
	fresh := filepath.Join(m.scratch, fmt.Sprintf("dir%d", m.n))
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := own[e.Name()]; ok {
			continue
		}
		if err := carry(filepath.Join(dir, e.Name()), filepath.Join(fresh, e.Name()), e.Type()); err != nil {
			return err
		}
	}
	for name, content := range own {
		if err := writeFile(filepath.Join(fresh, name), content); err != nil {
			return err
		}
	}
	return mount(fresh, filepath.Clean(dir), "", unix.MS_BIND|unix.MS_REC, "")
}

// carry makes to the same as from.
func carry(from, to string, kind fs.FileMode) error {
	switch {
	case kind&fs.ModeSymlink != 0:
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(link, to)
	case kind.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
	default:
		if err := writeFile(to, ""); err != nil {
			return err
		}
	}
	return mount(from, to, "", unix.MS_BIND|unix.MS_REC, "")
}

// follow is filepath.EvalSymlinks for a path whose end may not exist: it returns
// where a file would be made.
func follow(path string) (string, error) {
	const links = 40 // as many as Linux follows
	for range links {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, filepath.Base(path))
		link, err := os.Readlink(path)
		if err != nil {
			return path, nil // not a link, or nothing
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(dir, link)
		}
		path = link
	}
	return "", &fs.PathError{Op: "follow", Path: path, Err: unix.ELOOP}
}

// nsswitchPaths are where the C library looks for it, best first.
var nsswitchPaths = []string{"/etc/nsswitch.conf", "/usr/etc/nsswitch.conf"}

// ownNSSwitch is the host's nsswitch.conf with names of hosts looked up in
// /etc/hosts and by DNS only: other sources ask a daemon outside. How users and
// groups are found stays as it is.
func ownNSSwitch() string {
	for _, path := range nsswitchPaths {
		if b, err := os.ReadFile(path); err == nil {
			return replaceHosts(string(b))
		}
	}
	return replaceHosts("")
}

func replaceHosts(conf string) string {
	var b strings.Builder
	for line := range strings.Lines(conf) {
		if db, _, _ := strings.Cut(strings.TrimSpace(line), ":"); strings.TrimSpace(db) != "hosts" {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	b.WriteString("hosts: files dns\n")
	return b.String()
}
