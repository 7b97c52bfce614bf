//go:build race

package main

// raceEnabled says that the program under test takes memory that people's does not.
const raceEnabled = true
