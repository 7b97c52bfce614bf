//go:build linux && race

package tun

// raceEnabled: pools forget on purpose then.
const raceEnabled = true
