// Package epoll watches many descriptors with one goroutine, on Linux; on other
// systems it is empty. It is for the upstream sockets of a relay, of which there
// may be tens of thousands: a goroutine for each would cost its stack.
//
// A [Poller] is an epoll instance that is itself watched by the runtime's: the
// goroutine in Run waits as for any file, so it holds no thread. Descriptors that
// a Poller watches should not be watched by the runtime too, or each event is
// taken twice: duplicate a net.Conn's descriptor and close the net.Conn.
//
// # Who may do what when
//
// All methods but Run may be called at once by anyone, from a [Handler] too; only
// Close may not be called from one, because it waits for Run, and so for the
// Handler. No lock is held while a Handler runs. A Handler must not wait: all
// others wait for it.
//
// A number that named one file and now names another never confuses a Poller,
// as long as [Registration.Remove] comes before the close: each event carries the
// generation of its registration, and those of one that is gone are dropped.
package epoll
