package house

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	documented := make(map[string]bool)
	for _, s := range load(t).sources {
		if s.isTest() {
			continue
		}
		documented[s.dir()] = documented[s.dir()] || s.file.Doc.Text() != ""
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment (or a blank line cuts it off)", dir)
		}
	}
}

// TestExportedNamesAreDocumented covers the packages that people can import.
func TestExportedNamesAreDocumented(t *testing.T) {
	tr := load(t)
	for _, s := range tr.sources {
		if !s.isPublic() {
			continue
		}
		missing := func(n ast.Node, name string) {
			t.Errorf("%s: %s has no comment", tr.fset.Position(n.Pos()), name)
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc.Text() == "" && exportedReceiver(d) {
					missing(d, d.Name.Name)
				}
			case *ast.GenDecl:
				undocumented(tr.fset, d, missing)
			}
		}
	}
}

// exportedReceiver tells whether people can call a method. Methods that satisfy an interface of the standard library on
// a type of our own that nobody can name need no comment.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	for t := d.Recv.List[0].Type; ; {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

func undocumented(fset *token.FileSet, d *ast.GenDecl, missing func(ast.Node, string)) {
	for _, spec := range d.Specs {
		switch sp := spec.(type) {
		case *ast.TypeSpec:
			if !sp.Name.IsExported() {
				continue
			}
			if d.Doc.Text() == "" && sp.Doc.Text() == "" && sp.Comment.Text() == "" {
				missing(sp, sp.Name.Name)
			}
			// What package stack hands down for a constructor that nobody else can call has the types say it.
			if st, ok := sp.Type.(*ast.StructType); ok && sp.Name.Name != "Env" {
				undocumentedFields(fset, sp.Name.Name, st, missing)
			}
		case *ast.ValueSpec:
			if d.Doc.Text() != "" || sp.Doc.Text() != "" || sp.Comment.Text() != "" {
				continue
			}
			for _, name := range sp.Names {
				if name.IsExported() {
					missing(name, name.Name)
				}
			}
		}
	}
}

// undocumentedFields lets one comment stand for the fields that follow it without a blank line.
func undocumentedFields(fset *token.FileSet, typ string, st *ast.StructType, missing func(ast.Node, string)) {
	covered, last := false, -1
	for _, f := range st.Fields.List {
		own := f.Doc.Text() != "" || f.Comment.Text() != ""
		covered = own || covered && fset.Position(f.Pos()).Line == last+1
		last = fset.Position(f.End()).Line
		for _, name := range f.Names {
			if name.IsExported() && !covered {
				missing(name, typ+"."+name.Name)
			}
		}
	}
}

// TestStartersCheckForLeaks wants the goroutine-leak check in every package that starts a goroutine.
func TestStartersCheckForLeaks(t *testing.T) {
	starts, checks := make(map[string]string), make(map[string]bool)
	for _, s := range load(t).sources {
		if s.isMain() || strings.HasPrefix(s.name, "internal/leak/") || strings.HasPrefix(s.name, "bench/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				if !s.isTest() {
					starts[s.dir()] = s.name
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "leak" && n.Sel.Name == "Main" {
					checks[s.dir()] = true
				}
			}
			return true
		})
	}
	for dir, name := range starts {
		if !checks[dir] {
			t.Errorf("%s starts a goroutine and no TestMain of its package calls leak.Main", name)
		}
	}
}
