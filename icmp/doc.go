// Package icmp hands out the pings of clients: an [Echo] for each echo request to an
// address that is not the stack's own.
//
//	acceptor := s.ICMP() // of a stack.Stack
//	e, err := acceptor.AcceptEcho(ctx)
//	...
//	err = e.Reply()
//
// An Echo is answered by whoever took it, or not at all: no answer is what a host
// that is down gives. Nothing is kept of it, so it needs no Close.
//
// Pings reach the Acceptor with stack.EchoForward, the default, and from the first
// call of stack.Stack.ICMP on; until then, and after Acceptor.Close, they are counted
// and nobody answers. Package adapters/forward is one that takes them, and pings their
// targets.
//
// # Limits
//
// Of one source 1000 echoes a second reach the Acceptor, 256 at once; its queue holds
// 128 by default, and what is in it counts for the stack's MemoryLimit. What is more is
// dropped and counted. Errors (Unreachable,
// TimeExceeded, Report) share the rate of all ICMP errors that the stack sends to a
// source: 100 a second.
package icmp
