package house

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A file stays readable in one sitting.
const (
	maxLines     = 450
	maxTestLines = 700
)

func TestFilesAreShort(t *testing.T) {
	for _, s := range load(t).sources {
		limit := maxLines
		if s.isTest() {
			limit = maxTestLines
		}
		if n := bytes.Count(s.text, []byte("\n")); n > limit {
			t.Errorf("%s has %d lines, and %d are enough: cut it by concern", s.name, n, limit)
		}
	}
}

// banned are words that no file holds: where somebody's machine keeps things, where it fetches them from, and promises
// to do the work another time. They are spelt so that this file holds none of them.
var banned = regexp.MustCompile(strings.Join([]string{
	`/(work|root|home|Users)` + `/\w`,
	`(proxy|sum)\.golang` + `\.org`, `registry\.npm` + `js`, `pypi` + `\.org`, `crates` + `\.io`, `(deb|security)\.debian` + `\.org`,
	`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`,
}, "|"))

func TestNoBannedWords(t *testing.T) {
	for _, name := range load(t).files {
		switch path.Base(name) {
		case "go.sum", "THIRD_PARTY_NOTICES":
			continue // other people's words
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			continue // not text
		}
		for i, line := range strings.Split(string(text), "\n") {
			if word := banned.FindString(line); word != "" {
				t.Errorf("%s:%d: %q does not belong in the tree", name, i+1, word)
			}
		}
	}
}

// conflict is what a merge leaves behind that nobody has finished.
var conflict = regexp.MustCompile(`(?m)^(<{7}|>{7}|\|{7}) `)

func TestNoConflictMarkers(t *testing.T) {
	for _, side := range []string{"<", "|", ">"} {
		if !conflict.MatchString("x\n" + strings.Repeat(side, 7) + " branch\n") {
			t.Errorf("a marker of %s is not found", side)
		}
	}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error { // nested modules, too
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" && d.IsDir():
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if at := conflict.FindIndex(text); at != nil && bytes.IndexByte(text, 0) < 0 { // text
			t.Errorf("%s:%d: a merge conflict", name, 1+bytes.Count(text[:at[0]], []byte("\n")))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// link is a link of Markdown that leads to a file here, without its fragment.
var link = regexp.MustCompile(`\]\(([^):#]+)(#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for _, name := range load(t).files {
		if path.Ext(name) != ".md" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			target := path.Join(path.Dir(name), m[1])
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
	}
}

// TestReadmeListsEverything wants every example and every package that people can import in the README, as a link.
func TestReadmeListsEverything(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, s := range load(t).sources {
		dir := s.dir()
		example := s.isMain() && path.Dir(dir) == "examples"
		if s.isTest() || seen[dir] || dir == "." || !example && !s.isPublic() {
			continue
		}
		seen[dir] = true
		if !bytes.Contains(readme, []byte("]("+dir+")")) {
			t.Errorf("README.md has no link to %s", dir)
		}
	}
	if !bytes.Contains(readme, []byte("go test ./...")) {
		t.Error("README.md does not say how to run the tests")
	}
}
