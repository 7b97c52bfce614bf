package flow

// Notifier is told that there may be something to do for a flow: something to
// read, or its end. It runs on whatever goroutine brought that about, the one that
// reads the conn among them, with no lock of the flow held, and must not wait.
type Notifier interface{ Notify(Event) }

// Event says why a Notifier is called. Nothing is in it yet: a Notifier looks for
// itself, and only packages of this module can be one.
type Event struct{}
