// Package outbound owns the words that the ways out of this host have in common:
// what a Dialer and a PacketListener are, what they may know of the flow that they
// are asked to serve, and how a destination is called by its name.
//
// An outbound is whatever implements Dialer and, if it carries datagrams,
// PacketListener: direct.Dialer, a proxy's client, a resolver that answers itself.
// l3extract/adapters/forward serves flows by outbounds. This package imports
// nothing of this module, so an outbound can be used without a stack.
package outbound
