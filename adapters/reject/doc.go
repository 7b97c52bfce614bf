// Package reject is the outbound that lets nothing out. What the client of a flow sees
// is a choice: "connection refused", "administratively prohibited", or nothing at all.
package reject
