//go:build race

package door

// raceEnabled: the race detector allocates on its own.
const raceEnabled = true
