// Package flow owns the identity of a flow: its number, its account, the cause
// of its end, and the registry in which a stack keeps the flows that live.
package flow
