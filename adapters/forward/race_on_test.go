//go:build race

package forward

// raced: the race detector makes bulk twenty times slower.
const raced = true
