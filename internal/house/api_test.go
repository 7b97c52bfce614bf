package house

import (
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"strings"
	"testing"
)

// TestNoEngineInTheAPI follows every exported function, method, field and type that people can reach, through our
// internal packages too, and finds no type of the engine there.
func TestNoEngineInTheAPI(t *testing.T) {
	tr := load(t)
	w := &walker{tree: tr, seen: make(map[types.Type]bool), report: t.Errorf}
	for path, pkg := range compiled(t, tr) {
		for _, name := range pkg.Scope().Names() {
			if obj := pkg.Scope().Lookup(name); obj.Exported() {
				w.visit(obj.Type(), path+"."+name)
			}
		}
	}
}

// compiled loads the public packages of the library from the compiler's export data.
func compiled(t *testing.T, tr *tree) map[string]*types.Package {
	args := []string{"list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Name}} {{.Export}}", "."}
	for _, dir := range existing("stack", "tcp", "udp", "icmp", "l3conn", "adapters") {
		args = append(args, "./"+dir+"/...")
	}
	exports := make(map[string]string)
	var public []string
	for line := range strings.Lines(goCommand(t, nil, args...)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue // unsafe has no export data
		}
		exports[fields[0]] = fields[2]
		if dir, ours := tr.rel(fields[0]); ours && isPublic(dir) && fields[1] != "main" {
			public = append(public, fields[0])
		}
	}
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	pkgs := make(map[string]*types.Package)
	for _, path := range public {
		pkg, err := imp.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		pkgs[path] = pkg
	}
	return pkgs
}

// A walker visits every type that can be reached from where it starts by exported names.
type walker struct {
	tree   *tree
	seen   map[types.Type]bool
	report func(format string, args ...any)
}

func (w *walker) visit(t types.Type, where string) {
	if t == nil || w.seen[t] {
		return
	}
	w.seen[t] = true
	switch t := t.(type) {
	case *types.Alias:
		w.named(t.Obj(), where)
		w.visit(types.Unalias(t), where)
	case *types.Named:
		for arg := range t.TypeArgs().Types() {
			w.visit(arg, where)
		}
		if !w.named(t.Obj(), where) {
			return
		}
		for m := range t.Methods() {
			if m.Exported() {
				w.visit(m.Signature(), where+"."+m.Name())
			}
		}
		w.visit(t.Underlying(), where)
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() || f.Embedded() {
				w.visit(f.Type(), where+"."+f.Name())
			}
		}
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			w.visit(m.Signature(), where+"."+m.Name())
		}
		for e := range t.EmbeddedTypes() {
			w.visit(e, where)
		}
	case *types.Signature:
		w.tuple(t.Params(), where)
		w.tuple(t.Results(), where)
	case *types.Union:
		for term := range t.Terms() {
			w.visit(term.Type(), where)
		}
	case *types.TypeParam:
		w.visit(t.Constraint(), where)
	case *types.Map:
		w.visit(t.Key(), where)
		w.visit(t.Elem(), where)
	case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
		w.visit(t.Elem(), where)
	}
}

func (w *walker) tuple(t *types.Tuple, where string) {
	for v := range t.Variables() {
		w.visit(v.Type(), where)
	}
}

// named judges a type by where it is declared and tells whether it is ours, so worth entering.
func (w *walker) named(obj *types.TypeName, where string) bool {
	if obj.Pkg() == nil {
		return false
	}
	path := obj.Pkg().Path()
	if path == engine || strings.HasPrefix(path, engine+"/") {
		w.report("%s shows %s.%s", where, path, obj.Name())
	}
	_, ours := w.tree.rel(path)
	return ours
}
