// Package attach gives an example its packets: those that this host sends into a
// TUN interface, or those of a second Stack that plays the client at the other
// end of an in-memory Pipe, so that the example runs anywhere and without
// privileges. It is what the examples share and what none of them is about.
package attach
