package privdrop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// asUser and keeping make TestDrop its own child, which becomes that user.
const asUser, keeping = "PRIVDROP_TEST_USER", "PRIVDROP_TEST_KEEP"

func TestDrop(t *testing.T) {
	if user, ok := os.LookupEnv(asUser); ok {
		dropAndLook(t, user, os.Getenv(keeping) != "")
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become somebody else")
	}
	for _, user := range []string{"nobody", "4321:8765", ""} {
		for _, keep := range []string{"", "1"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestDrop$", "-test.v")
			cmd.Env = append(os.Environ(), asUser+"="+user, keeping+"="+keep)
			if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "SKIP") {
				t.Errorf("user %q, keep %q: %v\n%s", user, keep, err, out)
			}
		}
	}
}

// dropAndLook runs in a process of its own.
func dropAndLook(t *testing.T, name string, keep bool) {
	want := Identity{}
	cfg := &Config{User: name}
	if name != "" {
		var err error
		if want, err = Lookup(name); err != nil {
			t.Fatal(err)
		}
	}
	caps := "0000000000000000"
	if keep {
		cfg.Keep = []Capability{NetAdmin}
		caps = fmt.Sprintf("%016x", 1<<NetAdmin)
	}
	hold, held := make(chan struct{}), make(chan struct{})
	defer close(hold)
	thread := func() {
		go func() { // ends with the test
			runtime.LockOSThread()
			held <- struct{}{}
			<-hold
		}()
		<-held
	}
	for range 4 {
		thread()
	}
	if err := Drop(cfg); err != nil {
		t.Fatal(err)
	}
	for range 4 { // later ones
		thread()
	}
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, unix.ESRCH) || os.IsNotExist(err) {
			continue // a thread that has just ended
		}
		got := make(map[string]string)
		for line := range strings.Lines(string(b)) {
			k, v, _ := strings.Cut(line, ":")
			got[k] = strings.Join(strings.Fields(v), " ")
		}
		for k, want := range map[string]string{
			"Uid":    strings.TrimSpace(strings.Repeat(fmt.Sprint(want.UID, " "), 4)),
			"Gid":    strings.TrimSpace(strings.Repeat(fmt.Sprint(want.GID, " "), 4)),
			"CapPrm": caps, "CapEff": caps, "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
			"CapBnd": "0000000000000000", "NoNewPrivs": "1",
		} {
			want = strings.Join(strings.Fields(want), " ")
			if got[k] != want {
				t.Errorf("%s: %s %q, want %q", f, k, got[k], want)
			}
		}
		if g := got["Groups"]; name != "" && g != "" && g != fmt.Sprint(want.GID) {
			t.Errorf("%s: groups %q", f, g)
		}
	}
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var markErr error
	_ = raw.Control(func(fd uintptr) { markErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, 1) })
	if (markErr == nil) != keep {
		t.Errorf("set a mark: %v", markErr)
	}
	if name != "" {
		if _, err := os.ReadFile("/etc/shadow"); !os.IsPermission(err) {
			t.Errorf("read /etc/shadow: %v", err)
		}
	}
	if out, err := exec.Command("grep", "^CapEff", "/proc/self/status").Output(); err != nil || !strings.Contains(string(out), "0000000000000000") {
		t.Errorf("what is started has %s, %v", out, err)
	}
	// Again, and more than there is: errors, and nothing is gained.
	if err := Drop(cfg); (err == nil) != (name == "") {
		t.Errorf("drop again: %v", err)
	}
	if err := Drop(&Config{Keep: []Capability{NetRaw}}); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "net_raw") {
		t.Errorf("keep what is not there: %v", err)
	}
}

func TestLookup(t *testing.T) {
	for name, want := range map[string]string{
		"0": "{0 0 []}", "root": "{0 0 []}", "4321:8765": "{4321 8765 []}", "root:7": "{0 7 []}",
	} {
		id, err := Lookup(name)
		id.Groups = nil
		if err != nil || fmt.Sprint(id) != want {
			t.Errorf("%s: %v, %v, want %s", name, id, err, want)
		}
	}
	for _, name := range []string{"no-such-user", "4321", "root:no-such-group", "", "-1", "4294967295:1", "99999999999:1"} {
		if id, err := Lookup(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v, %v", name, id, err)
		}
	}
}

func TestNoSuchUser(t *testing.T) {
	if err := Drop(&Config{User: "no-such-user"}); err == nil || !strings.Contains(err.Error(), "no-such-user") {
		t.Error(err)
	}
	if err := Drop(&Config{Keep: []Capability{4711}}); err == nil || !strings.Contains(err.Error(), "4711") {
		t.Error(err)
	}
}
