package config

import (
	"fmt"
	"strings"
)

// helpLines are what -help shows.
var helpLines = []struct{ flag, text string }{
	{"-device NAME", "the TUN interface, as tun://tun0; made if it is not there. -mtu BYTES"},
	{"-proxy URL", "direct:// reject:// socks5:// socks4:// http(s):// ss:// ssh:// relay://"},
	{"-config FILE", "YAML with the names of the flags, and outbounds, rules, dns, limits, routes"},
	{"-check", "judge flags and file, print what they amount to, and exit"},
	{"-interface NAME", "leave by it; auto: by the default route's. -fwmark MARK: leave with it"},
	{"-auto-route", "lead the host into the interface; undone at the end"},
	{"-strict", "the same, and nothing leaves while the program is dead, until -cleanup"},
	{"-dns URL,...", "answer DNS by system:// udp:// tcp:// tls:// https://"},
	{"-fake-ip", "answer names with made-up addresses: the proxy resolves them"},
	{"-limit NAME=N", "{tcp,udp,handshakes,dials}[-per-source]; can be repeated"},
	{"-memory BYTES", "bound of all buffers, as 64MiB. -workers N: processes (Linux)"},
	{"-user NAME", "whom to become after the set-up"},
	{"-drain TIME", "what open flows have to finish after SIGTERM (10s). SIGHUP reloads"},
	{"-control URL", "API on unix:///PATH or http://TOKEN@HOST:PORT (-restapi). -pprof: profiles"},
	{"", "-control-token-file FILE, -control-token-env VAR"},
	{"-status", "a live table; without -device that of the program behind -control"},
	{"-loglevel LEVEL", "debug, info, warn, error, silent"},
	{"-flow-log FILE", "a line for each flow; -capture FILE: a pcap. Both of mode 0600"},
	{"-tun-pre-up CMD", "run before the interface is opened; -tun-post-up CMD: when it is"},
	{"-dial-timeout T", "10s; -idle-timeout T: 2h4m; -udp-timeout T: 5m"},
	{"-tcp-rcvbuf BYTES", "bound of a flow's buffer. -tcp-sndbuf. -tcp-auto-tuning=false: 64 KiB"},
	{"-version", "what this was built from. -multicast-groups is refused"},
}

// Help is what -help prints. It fits a screen.
func Help() string {
	var b strings.Builder
	b.WriteString("tun2socks -device tun://NAME [flags]: dials out what is sent into a TUN interface.\n")
	for _, l := range helpLines {
		fmt.Fprintf(&b, "  %-18s%s\n", l.flag, l.text)
	}
	return b.String()
}
