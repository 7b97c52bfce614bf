package main

import (
	"regexp"
	"strings"
	"testing"
)

const (
	passed = `{"Action":"run","Package":"m/p","Test":"TestA"}
{"Action":"output","Package":"m/p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"m/p","Test":"TestA","Output":"    a_test.go:1: not of interest\n"}
{"Action":"output","Package":"m/p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"m/p","Test":"TestA"}
{"Action":"output","Package":"m/p","Output":"-test.shuffle 1\n"}
{"Action":"output","Package":"m/p","Output":"PASS\n"}
{"Action":"output","Package":"m/p","Output":"ok  \tm/p\t0.1s\n"}
{"Action":"pass","Package":"m/p"}
`
	failed = `{"Action":"output","Package":"m/q","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"m/q","Test":"TestB","Output":"    b_test.go:7: wrong\n"}
{"Action":"output","Package":"m/q","Test":"TestB","Output":"--- FAIL: TestB (0.00s)\n"}
{"Action":"fail","Package":"m/q","Test":"TestB"}
{"Action":"output","Package":"m/q","Output":"-test.shuffle 2\n"}
{"Action":"output","Package":"m/q","Output":"FAIL\tm/q\t0.1s\n"}
{"Action":"fail","Package":"m/q"}
`
	skipped = `{"Action":"output","Package":"m/r","Test":"TestC","Output":"=== RUN   TestC\n"}
{"Action":"output","Package":"m/r","Test":"TestC","Output":"    c_test.go:9: needs a TUN\n"}
{"Action":"output","Package":"m/r","Test":"TestC","Output":"--- SKIP: TestC (0.00s)\n"}
{"Action":"skip","Package":"m/r","Test":"TestC"}
{"Action":"output","Package":"m/r","Output":"ok  \tm/r\t0.1s\n"}
{"Action":"pass","Package":"m/r"}
`
	untested = `{"Action":"output","Package":"m/s","Output":"?   \tm/s\t[no test files]\n"}
{"Action":"skip","Package":"m/s"}
`
	unbuilt = `{"ImportPath":"m/t","Action":"build-output","Output":"# m/t\n"}
{"ImportPath":"m/t","Action":"build-output","Output":"t/t.go:3:1: syntax error\n"}
{"ImportPath":"m/t","Action":"build-fail"}
`
)

func TestView(t *testing.T) {
	for _, tt := range []struct {
		name   string
		in     string
		noskip bool
		skipOK string
		out    string
		ok     bool
	}{
		{"a pass prints its package only", passed, true, "", "ok  \tm/p\t0.1s\n", true},
		{"a failure prints what its test said", failed, false, "", "    b_test.go:7: wrong\n--- FAIL: TestB (0.00s)\n-test.shuffle 2\nFAIL\tm/q\t0.1s\n", false},
		{"a skip is nothing by default", skipped, false, "", "ok  \tm/r\t0.1s\n", true},
		{"a skip fails under noskip", skipped, true, "", "ok  \tm/r\t0.1s\nskipped, and may not: m/r.TestC: c_test.go:9: needs a TUN\n", false},
		{"an allowed skip does not", skipped, true, "needs a TUN", "ok  \tm/r\t0.1s\n", true},
		{"a package without tests is no skip", passed + untested, true, "", "ok  \tm/p\t0.1s\n?   \tm/s\t[no test files]\n", true},
		{"a package that does not build fails", passed + unbuilt, true, "", "ok  \tm/p\t0.1s\n# m/t\nt/t.go:3:1: syntax error\n", false},
		{"other lines pass through", "go: cannot find module\n" + passed, true, "", "go: cannot find module\nok  \tm/p\t0.1s\n", true},
		{"nothing at all fails", "", true, "", "no test ran\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			v := &view{out: &out, noskip: tt.noskip}
			if tt.skipOK != "" {
				v.skipOK = regexp.MustCompile(tt.skipOK)
			}
			ok, err := v.read(strings.NewReader(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if ok != tt.ok {
				t.Errorf("ok = %v, want %v", ok, tt.ok)
			}
			if out.String() != tt.out {
				t.Errorf("printed\n%q\nwant\n%q", out.String(), tt.out)
			}
		})
	}
}
