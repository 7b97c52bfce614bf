//go:build race

package framed

// raceEnabled: pools forget on purpose then.
const raceEnabled = true
