package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the module's folder as seen from this package, where go test runs.
const root = "../.."

// A source is one Go file of the module, whatever system it is built for.
type source struct {
	name string // from the module's folder, with slashes
	file *ast.File
	text []byte
}

func (s *source) dir() string    { return path.Dir(s.name) }
func (s *source) isTest() bool   { return strings.HasSuffix(s.name, "_test.go") }
func (s *source) isMain() bool   { return s.file.Name.Name == "main" }
func (s *source) isPublic() bool { return isPublic(s.dir()) && !s.isTest() && !s.isMain() }

// isPublic tells whether people can import the package in this folder.
func isPublic(dir string) bool {
	return !slices.Contains(strings.Split(dir, "/"), "internal")
}

// imports lists the paths that the file imports.
func (s *source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the compiler says so, and better
		}
		paths = append(paths, p)
	}
	return paths
}

// A tree is the module as it lies on disk.
type tree struct {
	module  string
	fset    *token.FileSet
	sources []*source
	files   []string // every file, from the module's folder, with slashes
}

// load reads the module. Modules nested in it keep their own house, so they are left out, but for .ci, which has no Go.
func load(t *testing.T) *tree {
	t.Helper()
	tr := &tree{module: module(t), fset: token.NewFileSet()}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(p, "go.mod"))
			nested := err == nil && name != "."
			if nested || strings.HasPrefix(d.Name(), ".") && name != "." && name != ".ci" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || name == ".git" { // in a worktree it is a file
			return nil
		}
		tr.files = append(tr.files, name)
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "/testdata/") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(tr.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		tr.sources = append(tr.sources, &source{name: name, file: file, text: text})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// rel is the folder of one of our own packages, and false for anybody else's.
func (tr *tree) rel(importPath string) (string, bool) {
	if importPath == tr.module {
		return ".", true
	}
	return strings.CutPrefix(importPath, tr.module+"/")
}

// module is the path in go.mod: the one place that says it.
func module(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(goCommand(t, nil, "list", "-m"))
}

// goCommand runs go in the module's folder and returns what it printed.
func goCommand(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return string(out)
}

// existing keeps the folders that are there.
func existing(dirs ...string) []string {
	return slices.DeleteFunc(dirs, func(dir string) bool {
		_, err := os.Stat(filepath.Join(root, dir))
		return err != nil
	})
}
