// Command l3run runs a command whose network traffic is extracted by this
// library: the command lives in a network namespace whose only way out is a TUN
// device, and l3run, outside, turns the packets of that device into connections
// and dials each of them itself. It needs no root, changes no route of the host,
// and cannot loop.
//
//	l3run -- curl -sS http://example.com/
//	l3run -v -pcap trace.pcap -- git clone https://example.com/project.git
//
// With no command it runs a demo that needs no internet. See -help.
//
// The program is two processes of the same binary. The outer one (outside*.go)
// starts the inner one (inside*.go) in new user, mount and network namespaces;
// the inner one makes the TUN device, hands its file descriptor out over a
// socket pair, prepares /etc and gives up its privileges, waits for the word
// that the stack runs, and becomes the command by exec.
package main
