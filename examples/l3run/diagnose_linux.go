package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// host is what a diagnosis looks at.
type host struct{ root string } // "/", or a test's imitation

func (h host) sysctl(name string) string {
	b, _ := os.ReadFile(filepath.Join(h.root, "proc/sys", strings.ReplaceAll(name, ".", "/")))
	return strings.TrimSpace(string(b))
}

func (h host) container() bool {
	for _, mark := range []string{".dockerenv", "run/.containerenv"} {
		if _, err := os.Stat(filepath.Join(h.root, mark)); err == nil {
			return true
		}
	}
	return false
}

const tunNode = "dev/net/tun"

// diagnose turns a failed step into an error that names what is missing and how
// to allow it.
func (h host) diagnose(at stage, err error) *setupError {
	return &setupError{Stage: at, Err: err, Remedy: h.remedy(at, err)}
}

func (h host) remedy(at stage, err error) string {
	switch at {
	case stageTUN:
		// TUNSETIFF without the capability is EPERM: the namespace, not the node.
		if !errors.Is(err, unix.EPERM) {
			return h.tunRemedy(err)
		}
		return h.namespaceRemedy(err)
	case stageStart, stageMounts, stageLink, stageFiles, stageHide, stageDrop:
		return h.namespaceRemedy(err)
	}
	return ""
}

func (h host) tunRemedy(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		s := "/dev/net/tun is missing. Load the driver: sudo modprobe tun"
		if h.container() {
			s += "\nIn a container, pass the device in: --device /dev/net/tun"
		}
		return s
	case errors.Is(err, unix.EACCES):
		mode := ""
		if fi, err := os.Stat(filepath.Join(h.root, tunNode)); err == nil {
			mode = " (its mode is " + fi.Mode().Perm().String() + ")"
		}
		return "This user may not open /dev/net/tun" + mode +
			". Allow it, as most distributions do: sudo chmod 0666 /dev/net/tun"
	}
	return ""
}

func (h host) namespaceRemedy(err error) string {
	var s []string
	if h.sysctl("user.max_user_namespaces") == "0" {
		s = append(s, "This system allows no user namespaces. Allow some: sudo sysctl -w user.max_user_namespaces=15000")
	}
	if h.sysctl("kernel.unprivileged_userns_clone") == "0" {
		s = append(s, "This system lets only root make user namespaces (Debian's setting). Allow it: sudo sysctl -w kernel.unprivileged_userns_clone=1")
	}
	if h.sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1" && !errors.Is(err, syscall.ENOSPC) {
		s = append(s, "AppArmor takes the rights away from user namespaces here (Ubuntu's setting). Allow them: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n"+
			"or, for l3run alone, install a profile for its path in /etc/apparmor.d with the flag (unconfined) and the line \"userns,\".")
	}
	if len(s) == 0 && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) {
		if h.container() {
			s = append(s, "This container may not make namespaces. Start it with: --device /dev/net/tun --cap-add SYS_ADMIN --cap-add NET_ADMIN\n"+
				"or, for a rootless one: --device /dev/net/tun --security-opt seccomp=unconfined --security-opt apparmor=unconfined")
		} else {
			s = append(s, "This system, a sandbox around this process or a chroot forbids user namespaces to it.")
		}
	}
	if errors.Is(err, unix.ENOSPC) && len(s) == 0 {
		s = append(s, "The limit on namespaces is reached. Raise it: sudo sysctl -w user.max_user_namespaces=15000 user.max_net_namespaces=15000")
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) && len(s) == 0 {
		s = append(s, "This kernel was built without user or network namespaces.")
	}
	return strings.Join(s, "\n")
}
