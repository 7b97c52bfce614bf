//go:build !race

package main

// buildFlags make the program under test like the tests.
var buildFlags []string
