// Command headtohead runs the same client and server through one program after
// another and compares them. It is for Linux, needs root, ip(8) and the Go command, and
// takes about ten minutes:
//
//	go run -C bench/headtohead .
//	go run -C bench/headtohead . -programs proxy-1,proxy,ours -only bulk,conn -rounds 5
//	go run -C bench/headtohead . -programs ours-plain,baseline -only bulk
//	go run -C bench/headtohead . -programs ours-socks,ours-socks-pool,tun2socks-socks,sing-box-socks -only bulk,conn
//
// # The network
//
// Each visit to a program is in a network of its own, of three namespaces that no
// file names, so that they are gone when this process is, however it ends:
//
//	client --(TUN, or veth)-- program --(veth)-- server
//
// The TUN is made by the program and moved into the client's namespace, so that
// every packet of the client's, those of sockets in TIME-WAIT too, goes there; pasta
// and slirp4netns make theirs there themselves. The routes of the comparison are
// "none", which forwards packets by the kernel, and "proxy", a Go program that accepts
// on a kernel socket and copies to another, once with GOMAXPROCS 1 and once with the
// default. The better of the two in a column is the yardstick of that column. Ours is
// there as people get it and with GOMAXPROCS at 1 and at the number of processors, but
// not twice the same. IPv6 is off, so that the kernel does not speak of its own accord.
//
// # What counts
//
// Client and server are this program, started again. Programs take turns in every
// round, and a figure is the median of the rounds. Each visit begins with data that
// goes both ways and whose SHA-256 both ends compare; a program that cannot move it has
// no figures of bulk. In the measured transfers the receiver compares every byte with
// what it must be, which costs it less than a hash, and the ends compare how many there
// were; of datagrams it compares each. A visit ends when a byte is wrong or the program
// dies: that and what follows has no figure, and the report says so. It also says what
// failed in another way, which leaves the rest of the visit its turn.
//
// The processor time is the clock of the program's processes, without client and
// server; what the kernel does for it in its name is in it.
//
// # Measurements
//
// Those of each round, which -only chooses from:
//
//   - bulk: as much as goes for -span, up and down, on 1 and on 8 streams.
//   - conn: connect, a byte each way, close, 50 at once, to 16 addresses.
//   - latency: a byte there and back, over TCP and UDP, with client, server and program
//     on one processor; and over TCP while 8 streams (4 up, 4 down) take what they can,
//     where everything runs wherever it will.
//   - quic: a download by quic-go, a second of it, where every byte is compared.
//   - udp: datagrams of 1200 bytes at 100 Mbit/s and at 1 Gbit/s, up and down: how many
//     are lost, and the processor time for each that arrives.
//   - load, which -only must name: pages of 20 fetches over new connections, six at a
//     time, without other load, and while a crowd has 2 000 connections at 20 kbit/s, 5 000
//     sockets with a datagram a second, and 200 new connections a second of which a
//     quarter go where nobody answers; by a client with the crowd's address, and by one
//     with another. Only on a quiet machine do the ratios mean something.
//
// Those that are done once, behind the rounds, with the programs waiting at the same
// time but working one after another:
//
//   - idle: the context switches of all threads in -idle, without connections, 10 s after
//     the program was started and one connection has shown that it works.
//   - memory: what is resident then, with 1 000 and 9 000 idle connections, -gone
//     after they have ended, and with 9 000 again. Go gives memory back at the
//     latest after some minutes, so -gone 150s shows what stays for good.
//
// Every client is bounded by what it is to do, every process by its visit, and each
// is ended by its number.
package main
