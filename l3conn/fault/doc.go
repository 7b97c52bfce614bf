// Package fault makes a packet conn behave like a bad link: it loses, delays,
// reorders, repeats and damages packets and bounds their rate, each direction
// apart, reproducibly, and counts everything it does.
//
// New wraps a conn; use the result in its place:
//
//	bad, err := fault.New(conn, &fault.Config{
//		Seed: 1,
//		Out:  fault.Direction{Drop: 0.01, Delay: 25 * time.Millisecond},
//		In:   fault.Direction{Delay: 25 * time.Millisecond},
//	})
//	...
//	defer bad.Close()
//	s, err := stack.New(bad, nil)
//
// # The order of things
//
// A packet first passes the bottleneck (Rate and its Queue), then the wire (Drop,
// Burst, Corrupt, Duplicate), which takes its time (Delay, Jitter, Reorder). What
// happens to packet number i of a direction depends on the Seed and i alone, and
// switching one fault on changes nothing for another: dice are thrown for all of
// them, always. Only what a full queue refuses depends on time.
//
// # Segments
//
// A link loses packets, not segments of 64 KiB. Over an l3conn.Offloader, segments
// written are cut into packets before anything is decided, and a direction with
// faults gives its reader packets, with checksums to be verified. A direction
// without any is handed through as it is, segments and all, and not counted.
//
// # Time
//
// Delays are kept by the timers of package time, which wake an idle program up
// to a millisecond late, and no packet early. A direction that needs them has a
// bounded queue, which drops and counts, and a goroutine; so has In with
// any fault. Close ends them.
package fault
