package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDiagnose(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		at    stage
		err   error
		want  []string // nil: no remedy
	}{
		{"AppArmor", map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
			stageMounts, unix.EACCES, []string{"AppArmor", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"}},
		{"AppArmor and TUNSETIFF", map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"},
			stageTUN, unix.EPERM, []string{"kernel.apparmor_restrict_unprivileged_userns=0"}},
		{"Debian", map[string]string{"proc/sys/kernel/unprivileged_userns_clone": "0\n"},
			stageStart, unix.EPERM, []string{"sudo sysctl -w kernel.unprivileged_userns_clone=1"}},
		{"no namespaces", map[string]string{"proc/sys/user/max_user_namespaces": "0\n"},
			stageStart, unix.ENOSPC, []string{"sudo sysctl -w user.max_user_namespaces=15000"}},
		{"limit", map[string]string{"proc/sys/user/max_user_namespaces": "100\n"},
			stageStart, unix.ENOSPC, []string{"limit on namespaces"}},
		{"container", map[string]string{".dockerenv": ""},
			stageStart, unix.EPERM, []string{"--device /dev/net/tun", "seccomp"}},
		{"sandbox", nil, stageStart, unix.EPERM, []string{"sandbox"}},
		{"kernel", nil, stageStart, unix.EINVAL, []string{"kernel was built without"}},
		{"no TUN", nil, stageTUN, unix.ENOENT, []string{"sudo modprobe tun"}},
		{"no TUN in a container", map[string]string{"run/.containerenv": ""}, stageTUN, unix.ENODEV,
			[]string{"sudo modprobe tun", "--device /dev/net/tun"}},
		{"TUN for root", map[string]string{tunNode: ""}, stageTUN, unix.EACCES,
			[]string{"sudo chmod 0666 /dev/net/tun", "-rw-r--r--"}},
		{"anything else", nil, stageTalk, io.ErrUnexpectedEOF, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			for name, content := range tc.files {
				name = filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := writeFile(name, content); err != nil {
					t.Fatal(err)
				}
			}
			err := host{root}.diagnose(tc.at, os.NewSyscallError("call", tc.err))
			if !errors.Is(err, tc.err) || !strings.Contains(err.Error(), string(tc.at)) {
				t.Errorf("the error is %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Remedy, want) {
					t.Errorf("remedy %q, want %q in it", err.Remedy, want)
				}
			}
			if tc.want == nil && err.Remedy != "" {
				t.Errorf("remedy %q, want none", err.Remedy)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Mkdir(in("d"), 0o755),
		writeFile(in("d/file"), ""),
		os.Symlink("d", in("to-d")),
		os.Symlink("to-d/file", in("to-file")),
		os.Symlink(in("to-file"), in("absolute")),
		os.Symlink("to-d/none", in("dangling")),
		os.Symlink("../gone/none", in("d/nowhere")),
		os.Symlink("loop", in("loop")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"d/file":      "d/file",
		"to-file":     "d/file",
		"absolute":    "d/file",
		"dangling":    "d/none",
		"d/missing":   "d/missing",
		"to-d/other":  "d/other",
		"d/nowhere":   "gone/none",
		"gone/at/all": "gone/at/all",
	} {
		if got, err := follow(in(name)); err != nil || got != in(want) {
			t.Errorf("%s: %s, %v, want %s", name, got, err, in(want))
		}
	}
	if got, err := follow(in("loop")); !errors.Is(err, unix.ELOOP) {
		t.Errorf("loop: %s, %v", got, err)
	}
}

func TestReplaceHosts(t *testing.T) {
	for _, tc := range []struct{ have, want string }{
		{"", "hosts: files dns\n"},
		{"passwd: files systemd\nhosts:  files mdns4_minimal [NOTFOUND=return] dns\n# hosts: x\nservices: db",
			"passwd: files systemd\n# hosts: x\nservices: db\nhosts: files dns\n"},
		{" hosts : resolve\n", "hosts: files dns\n"},
	} {
		if got := replaceHosts(tc.have); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.have, got, tc.want)
		}
	}
}
