// Command headtohead runs the same client and server through one program after
// another and compares them. It is for Linux, needs root and ip(8), and takes a
// few minutes:
//
//	go run ./bench/headtohead -out results
//
// Each visit to a program is in a network of its own, of three namespaces that no
// file names, so that they are gone when this process is, however it ends:
//
//	client --(TUN, or veth)-- program --(veth)-- server
//
// The TUN is made by the program and moved into the client's namespace, so that
// every packet of the client's, those of sockets in TIME-WAIT too, goes there. The
// routes of the comparison are "none", which forwards packets by the kernel, and
// "proxy", a Go program that accepts on a kernel socket and copies to another, once
// with GOMAXPROCS 1 and once with the default. The better of the two in a column is
// the yardstick of that column.
//
// Client, server and proxy are this program, started again. Programs take turns in
// every round, and the figure is the median of the rounds. Each visit begins with data
// whose SHA-256 the other end computes, and in the measured transfers the receiver
// compares every byte with what it must be, which costs it less. A visit ends when a
// byte is wrong or the program dies: that and what follows has no figure, and the
// report says so.
//
// The processor time is that of the program's processes as /proc/PID/stat counts
// it, without client and server; what the kernel does for it in its name is in it.
// Latency is measured with the program on the first processor and client and server
// on the last; the rest is not pinned.
package main
