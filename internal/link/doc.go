// Package link owns a stack's packet conn: it reads packets from it, and writes
// those that the engine, UDP and ICMP produce, without ever making them wait.
//
// A conn whose Write does not wait is written in place. For any other there is
// one transmit queue and one writer goroutine. The queue never drops TCP data in
// normal work: long before that, streams are asked to wait (Congested), and they
// hold no lock of the engine while they do.
package link
