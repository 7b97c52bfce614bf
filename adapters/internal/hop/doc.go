// Package hop owns what the clients of all proxies do alike: reach the proxy, bound
// the time of its handshake, read no byte beyond it, and say in one line what went
// wrong, with the errno that the client of a flow is to see.
package hop
