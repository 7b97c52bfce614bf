package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// An event is one line of `go test -json`, see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output, which names no Package
	Test       string
	Output     string
}

// A view turns events back into the output of `go test` without -v.
type view struct {
	out    io.Writer
	noskip bool
	skipOK *regexp.Regexp // reasons allowed under noskip; nil allows none

	lines   map[string][]string // what each running test and package has printed, by package and test
	skipped []string            // tests that skipped and may not, with their reason
	failed  bool
	tested  bool // some package ended
}

// result is the line with which go test ends a package that is well, and all that it prints of one.
var result = regexp.MustCompile(`^(ok  |\?   )\t`)

// noise is what `go test -v` prints and `go test` does not. The events carry it because -json implies -v.
var noise = regexp.MustCompile(`^\s*(=== (RUN|PAUSE|CONT|NAME|ATTR)\s|--- (PASS|SKIP): |(PASS|testing: warning: no tests to run)\s*$)`)

// read consumes the whole stream and reports whether all of it was well.
func (v *view) read(r io.Reader) (bool, error) {
	v.lines = make(map[string][]string)
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			v.take(line)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
	}
	for _, s := range v.skipped {
		fmt.Fprintf(v.out, "skipped, and may not: %s\n", s)
	}
	if !v.tested {
		fmt.Fprintln(v.out, "no test ran")
	}
	return v.tested && !v.failed && len(v.skipped) == 0, nil
}

// take handles one line. What is not an event is passed on: go itself prints such lines when a package cannot load.
func (v *view) take(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		v.out.Write(line)
		return
	}
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(v.out, e.Output)
	case "build-fail":
		v.failed = true
	case "output":
		v.lines[key] = append(v.lines[key], e.Output)
	case "pass", "skip":
		switch {
		case e.Test == "": // a package without tests "skips"
			v.tested = v.tested || e.Action == "pass"
			v.print(v.lines[key], result.MatchString)
		case e.Action == "skip":
			v.skip(e.Package+"."+e.Test, v.lines[key])
		}
		delete(v.lines, key)
	case "fail":
		v.failed = true
		v.tested = v.tested || e.Test == ""
		v.print(v.lines[key], func(l string) bool { return !noise.MatchString(l) })
		delete(v.lines, key)
	}
}

func (v *view) print(lines []string, which func(string) bool) {
	for _, l := range lines {
		if which(l) {
			fmt.Fprint(v.out, l)
		}
	}
}

func (v *view) skip(test string, lines []string) {
	if !v.noskip {
		return
	}
	var reason strings.Builder
	for _, l := range lines {
		if !noise.MatchString(l) {
			reason.WriteString(" " + strings.TrimSpace(l))
		}
	}
	if v.skipOK == nil || !v.skipOK.MatchString(reason.String()) {
		v.skipped = append(v.skipped, test+":"+reason.String())
	}
}
