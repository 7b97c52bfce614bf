//go:build race

package packet

// raceEnabled: the race detector allocates on its own.
const raceEnabled = true
