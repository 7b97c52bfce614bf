package house

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// floor says on which floor of ARCHITECTURE.md the package in this folder stands; false for one that nobody has placed.
// A package imports floors below its own only.
func floor(dir string) (int, bool) {
	first, rest, _ := strings.Cut(dir, "/")
	switch first {
	case "examples", "bench", "cmd":
		return 7, true
	case ".":
		return 6, true // the aliases: above everything that they name, and nobody's business below
	case "adapters":
		return 5, true
	case "stack":
		return 4, true
	case "tcp", "udp", "icmp":
		return 3, true
	case "internal":
		switch rest {
		case "house", "house/testview":
			return 7, true
		case "netstack", "link":
			return 2, true
		}
		return 1, true
	case "l3conn":
		return 0, true
	}
	return 0, false
}

// neighbours may import each other although they stand on one floor.
func neighbours(from, to string) bool {
	switch a, b := path.Base(from), path.Base(to); {
	case !strings.HasPrefix(from, "internal/"):
		a, _, _ := strings.Cut(from, "/")
		b, _, _ := strings.Cut(to, "/")
		return a == b // a family: l3conn/tun and l3conn; but never tcp, udp and icmp
	case a == "drop":
		return false
	case a == "packet":
		return b == "drop"
	}
	return true
}

func TestImportsPointDownwards(t *testing.T) {
	tr := load(t)
	for _, s := range tr.sources {
		if s.isTest() {
			continue // a test may use what stands above, as l3conn's use the leak check
		}
		from, placed := floor(s.dir())
		if !placed {
			t.Errorf("%s: no floor of the house is given to this folder", s.name)
			continue
		}
		for _, p := range s.imports() {
			dir, ours := tr.rel(p)
			if !ours {
				continue
			}
			to, placed := floor(dir)
			if !placed || to > from || to == from && !neighbours(s.dir(), dir) {
				t.Errorf("%s imports %s, which does not stand below it", s.name, p)
			}
		}
	}
}

// TestEngineStaysInside keeps gVisor, which has no stable versions, out of everything but the one package that wraps it.
func TestEngineStaysInside(t *testing.T) {
	for _, s := range load(t).sources {
		if s.dir() == "internal/netstack" || strings.HasPrefix(s.name, "bench/") {
			continue
		}
		for _, p := range s.imports() {
			if strings.HasPrefix(p, engine) {
				t.Errorf("%s imports %s: only internal/netstack may", s.name, p)
			}
		}
	}
}

// engine begins the import path of every package of the engine.
const engine = "gvisor.dev/gvisor"

// TestDependencies keeps the promise of the README about what a program that imports the core takes in, on any system.
func TestDependencies(t *testing.T) {
	allowed := []string{
		module(t), engine, "github.com/google/btree",
		"golang.org/x/exp", "golang.org/x/sync", "golang.org/x/sys", "golang.org/x/time",
	}
	args := []string{"list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}"}
	for _, dir := range existing("stack", "tcp", "udp", "icmp", "l3conn") {
		args = append(args, "./"+dir)
	}
	for _, system := range []string{"linux", "darwin", "windows", "freebsd"} {
		for dep := range strings.FieldsSeq(goCommand(t, []string{"GOOS=" + system, "CGO_ENABLED=0"}, args...)) {
			if !slices.ContainsFunc(allowed, func(a string) bool { return dep == a || strings.HasPrefix(dep, a+"/") }) {
				t.Errorf("%s: the core depends on %s", system, dep)
			}
		}
	}
}
