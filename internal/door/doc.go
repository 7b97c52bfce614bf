// Package door is the way in: it decides which packets from outside may reach
// anything else. What it lets through is well formed, comes from and goes to
// addresses that make sense on a link, comes from a configured source, and has
// correct checksums. The engine behind it asserts with panics that nobody can
// recover, and its own check for senseless addresses is switched off: this is the
// only one.
package door
