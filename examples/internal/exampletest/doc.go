// Package exampletest tests the examples: what they print, against the file that
// continuous integration compares it with, and how they serve this host's own
// kernel over a TUN interface in a network namespace of the test's own.
package exampletest
