//go:build race

package ether

// raceEnabled: pools forget on purpose then.
const raceEnabled = true
