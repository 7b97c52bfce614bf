// Package quic has one test: quic-go, unchanged, downloads through a TUN, a Stack
// and a forwarder. It is a module of its own, so that the library does not depend on
// quic-go. As root, on Linux:
//
//	go test -v -quic.mib 1024
package quic
