// Package drop names every reason for which a packet, a datagram or a flow is
// refused, and counts them. Nothing is dropped without a [Cause].
package drop
