//go:build !race

package main

// raceDetector: the tests run with it.
const raceDetector = false
