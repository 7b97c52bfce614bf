package house

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shown is a block of Go in a document that names the function, of some test file, whose body it is:
//
//	<!-- the body of Example_name -->
//	```go
//	...
//	```
//
// So the code that people copy from a document is code that compiles, and that runs if the example has an output.
var shown = regexp.MustCompile("(?s)<!-- the body of (\\w+) -->\n```go\n(.*?)```")

func TestShownCodeIsCodeThatRuns(t *testing.T) {
	tr := load(t)
	bodies := make(map[string]string)
	for _, s := range tr.sources {
		if !s.isTest() {
			continue
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Body != nil {
				from, to := tr.fset.Position(f.Body.Lbrace).Offset+1, tr.fset.Position(f.Body.Rbrace).Offset
				bodies[f.Name.Name] = string(s.text[from:to])
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
			body, ok := bodies[m[1]]
			if !ok {
				t.Errorf("%s shows the body of %s, which no test file has", name, m[1])
				continue
			}
			if want, got := plain(body), plain(m[2]); got != want {
				t.Errorf("%s shows\n%s\nbut the body of %s is\n%s", name, got, m[1], want)
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
