// Command tunnel carries IP packets between two processes, in frames over TLS or a
// WebSocket, and ends them in user space: what enters at one end is dialled from the
// other. It needs no privilege.
//
//	tunnel                                            a demo of both ends
//	tunnel keys DIR                                   makes the keys that both ends need
//	tunnel exit  -keys DIR -listen ADDRESS            takes packets and dials out
//	tunnel entry -keys DIR -connect ADDRESS -get URL  fetches through it by a Stack of its own
//	tunnel entry -keys DIR -connect ADDRESS -tun NAME sends what this host routes into a TUN
//
// Over TLS both ends know each other by certificates that keys has made. With
// -websocket (at both ends) the exit has its certificate and the entry shows a token
// that only they have: behind a reverse proxy no client certificate arrives.
//
// When the connection is lost the entry dials anew, and what goes through the tunnel
// only waits: l3extract/l3conn/carrier.
package main
