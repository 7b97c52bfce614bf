//go:build race

package datagram

// raceEnabled: pools forget on purpose then.
const raceEnabled = true
