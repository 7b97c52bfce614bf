// Package logs makes the logger of tun2socks: text lines in which no URL shows its
// password, and in which a warning that repeats is one line with a count; and the log of
// flows, a file of its own.
package logs
