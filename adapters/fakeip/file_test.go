package fakeip

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map")
	p := mustNew(t, nil)
	if err := p.Load(path); err != nil {
		t.Fatalf("a file that is not there: %v", err)
	}
	want := make(map[string]netip.Addr)
	for i := range 100 {
		name := fmt.Sprintf("h%d.example", i)
		want[name] = assign(t, p, alice, name)
	}
	want["v6.example"] = assign(t, p, netip.MustParseAddr("fd00::1"), "v6.example")
	want["nobody.example"] = assign(t, p, netip.Addr{}, "nobody.example")
	p.Pin(want["h3.example"])
	for range 2 { // the second time over a file
		if err := p.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	again := mustNew(t, nil)
	if err := again.Load(path); err != nil {
		t.Fatal(err)
	}
	for name, a := range want {
		if got, ok := again.Name(a); !ok || got != name {
			t.Errorf("%v is %q, want %s", a, got, name)
		}
		if got := assign(t, again, bob, name); got != a {
			t.Errorf("%s is %v, want %v", name, got, a)
		}
	}
	if err := again.Load(path); err == nil {
		t.Error("loaded into a pool with names")
	}
}

// TestCrash: an address that was given out after the last Save stands for no name after a
// crash, and for no other one: clients remember it.
func TestCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map")
	p := mustNew(t, nil)
	assign(t, p, alice, "saved.example")
	if err := p.Save(path); err != nil {
		t.Fatal(err)
	}
	lost := make(map[netip.Addr]bool)
	for i := range 20 {
		lost[assign(t, p, alice, fmt.Sprintf("lost%d.example", i))] = true
	}
	again, same := mustNew(t, nil), 0
	if err := again.Load(path); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if lost[assign(t, again, alice, fmt.Sprintf("new%d.example", i))] {
			same++
		}
	}
	if same == 20 { // some may be, by chance: one time in thousands
		t.Error("all lost addresses stand for other names now")
	}
}

// TestLoadIntoASmallerPool: what was used last stays.
func TestLoadIntoASmallerPool(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map")
	p := mustNew(t, &Config{Size: 200})
	for i := range 100 {
		assign(t, p, alice, fmt.Sprintf("h%d", i))
	}
	if err := p.Save(path); err != nil {
		t.Fatal(err)
	}
	less := mustNew(t, &Config{Size: 10})
	if err := less.Load(path); err != nil {
		t.Fatal(err)
	}
	if n := less.Stats().Names; n != 10 || less.byName["h99"] == nil || less.byName["h89"] != nil {
		t.Errorf("%d names, h99 %v, h89 %v", n, less.byName["h99"], less.byName["h89"])
	}
}

func TestSaveWhereItCannot(t *testing.T) {
	if err := mustNew(t, nil).Save(filepath.Join(t.TempDir(), "none", "map")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("saved into no directory: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	p := mustNew(t, small(-1))
	assign(t, p, alice, "a.example")
	assign(t, p, alice, "b.example")
	good := string(p.encode())
	lines := strings.SplitAfter(good, "\n")
	for what, text := range map[string]string{
		"nothing":           "",
		"a half":            good[:len(good)/2],
		"no end":            strings.Join(lines[:3], ""),
		"a later version":   strings.Replace(good, "fakeip 1", "fakeip 2", 1),
		"other prefixes":    strings.Replace(good, "198.18.0.0/28", "198.18.0.0/15", 1),
		"another name":      strings.Replace(good, "a.example", "c.example", 1),
		"one name twice":    strings.Replace(good, "a.example", "b.example", 1),
		"a place too far":   lines[0] + "15 10.0.0.1/32 a.example\n",
		"no place":          lines[0] + "x 10.0.0.1/32 a.example\n",
		"no source":         lines[0] + "1 10.0.0.1 a.example\n",
		"an uppercase name": lines[0] + "1 10.0.0.1/32 A.example\n",
		"two fields":        lines[0] + "1 a.example\n",
		"more":              good + "1",
		"binary":            "\x7fELF" + strings.Repeat("\x00", 5000),
	} {
		path := filepath.Join(t.TempDir(), "map")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		fresh := mustNew(t, small(-1))
		err := fresh.Load(path)
		if !errors.Is(err, ErrFile) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", what, err)
		}
		if fresh.Stats().Names != 0 {
			t.Errorf("%s: names were taken in", what)
		}
		assign(t, fresh, alice, "x.example")
	}
}

// FuzzLoad: a file is refused and the pool stays empty, or it is taken in and written
// again as it means.
func FuzzLoad(f *testing.F) {
	p := mustNew(f, small(-1))
	assign(f, p, alice, "a.example")
	assign(f, p, netip.Addr{}, "b.example")
	f.Add(p.encode())
	f.Add([]byte(p.head() + "\nend 0 00000000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := mustNew(t, small(-1))
		if err := p.decode(bytes.NewReader(b)); err != nil {
			if p.Stats().Names != 0 {
				t.Fatalf("%v, and it has names", err)
			}
			return
		}
		again := mustNew(t, small(-1))
		if err := again.decode(bytes.NewReader(p.encode())); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.encode(), again.encode()) {
			t.Fatalf("%s\n%s", p.encode(), again.encode())
		}
	})
}
