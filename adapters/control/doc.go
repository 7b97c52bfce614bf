// Package control shows a running stack to its operator over HTTP, and to programs that
// monitor it:
//
//	GET    /stats          the Stats of the stack and of the forward.Server, as JSON
//	GET    /flows          live flows, as JSON; see Query for the filters
//	GET    /flows/{id}     one of them
//	DELETE /flows/{id}     ends it with the cause "killed"
//	GET    /metrics        the counters for Prometheus
//	GET    /config         what Server.Config returns, if that is set
//	GET    /debug/pprof/   profiles, if Server.Pprof is set
//
// Flows are somebody's browsing history, so who may ask is decided narrowly. A unix
// socket of Listen has mode 0600, and its file system says who may connect. Over TCP,
// loopback too, every request needs the Token, as "Authorization: Bearer TOKEN": any
// user of the machine and any page in a browser can reach a port of it. There a Host
// that is a name is refused, because names can be made to lead here by whoever owns
// them (DNS rebinding), but for localhost and Server.Hosts; so is an Origin that is not
// the Host. No answer has CORS headers.
//
// Answers, requests, connections and times are bounded. No secret is served unless
// Config returns one.
package control
