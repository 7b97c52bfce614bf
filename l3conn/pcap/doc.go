// Package pcap writes the packets that pass a conn to a pcap file, which
// tcpdump and Wireshark read.
//
// New wraps a conn; use the result in its place:
//
//	tee, err := pcap.Create(conn, "out.pcap", nil)
//	...
//	defer tee.Stop()
//	s, err := stack.New(tee, nil)
//
// The file is of the classic format, link type RAW (101): each record is an IP
// packet, read or written, in one sequence. A packet read is recorded before
// its reader gets it, a packet written before the conn gets it, so an answer
// never stands before its question; a packet that the conn then refuses, or a
// batch that the caller repeats in part, is in the file all the same.
//
// Over an l3conn.Offloader the Tee is one too. A segment is one record, larger
// than the MTU, and a checksum that is left to somebody else is not filled in,
// as tcpdump shows it on a host whose network card does that work.
//
// The packet path only copies into a bounded buffer. A goroutine writes that
// out, whatever is there at once, so that the file is fresh when little happens
// and written in large pieces when much does. Where it cannot follow, records
// are dropped and counted. The first error of the file ends the capture, not
// the traffic.
package pcap
