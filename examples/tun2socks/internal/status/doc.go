// Package status shows on a terminal what a tun2socks does: its rates, what it dropped and
// why flows ended, and a live table of its flows, of which one can be ended. It reads the
// types of l3extract/adapters/control, in this process or from a control socket.
package status
