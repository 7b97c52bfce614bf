// Testview prints the output of `go test -json` as `go test` itself would have printed it, and knows one thing more:
// with -noskip a test that skipped is a failure, shown with the reason it gave.
//
//	go test -json ./... | go run ./internal/house/testview -noskip
//
// A test that cannot run on somebody's machine skips and says why. In continuous integration, as root on Linux, there is
// nothing that cannot run, so a skip there is a test that nobody runs any more. -skip-ok takes a regular expression over
// the reasons that are allowed all the same (the race detector makes allocation counts meaningless, for example).
//
// It exits with 1 when a test failed, a package did not build, nothing was tested, or a test skipped that may not.
package main
