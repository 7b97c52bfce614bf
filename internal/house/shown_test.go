package house

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shown is a block of Go in a document that names a function of some test file, which it shows whole, or its body only:
//
//	<!-- func name -->    or    <!-- body of Example_name -->
//	```go
//	...
//	```
//
// So the code that people copy from a document is code that compiles, and that runs if the example has an output.
var shown = regexp.MustCompile("(?s)<!-- (func|body of) (\\w+) -->\n```go\n(.*?)```")

func TestShownCodeIsCodeThatRuns(t *testing.T) {
	tr := load(t)
	whole, bodies := make(map[string]string), make(map[string]string)
	for _, s := range tr.sources {
		if !s.isTest() {
			continue
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Body != nil {
				at := func(p token.Pos) int { return tr.fset.Position(p).Offset }
				whole[f.Name.Name] = string(s.text[at(f.Pos()):at(f.End())])
				bodies[f.Name.Name] = string(s.text[at(f.Body.Lbrace)+1 : at(f.Body.Rbrace)])
			}
		}
	}
	for _, name := range tr.files {
		if path.Ext(name) != ".md" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range shown.FindAllStringSubmatch(string(text), -1) {
			code, ok := whole[m[2]]
			if m[1] != "func" {
				code, ok = bodies[m[2]]
			}
			if !ok {
				t.Errorf("%s shows %s, which no test file has", name, m[2])
				continue
			}
			if want, got := plain(code), plain(m[3]); got != want {
				t.Errorf("%s shows\n%s\nbut %s is\n%s", name, got, m[2], want)
			}
		}
	}
}

// plain drops what a document does not show: indentation, blank lines, and the expected output of an example.
func plain(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "// Output:") || strings.HasPrefix(line, "// Unordered output:") {
			break
		}
		if line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
