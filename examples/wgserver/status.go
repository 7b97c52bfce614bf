package main

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// status is what wireguard-go says of a peer.
type status struct {
	public   key
	endpoint string    // "": never heard of
	last     time.Time // of the last handshake; zero: there was none
	in, out  uint64    // bytes with WireGuard's headers
}

// parseStatus reads the answer to a get of wireguard-go's UAPI, as far as it is
// about peers.
func parseStatus(state string) (peers []status) {
	var seconds int64
	for line := range strings.Lines(state) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if name == "public_key" {
			var s status
			_, _ = hex.Decode(s.public[:], []byte(value)[:min(len(value), 2*len(s.public))])
			peers = append(peers, s)
			continue
		}
		if len(peers) == 0 {
			continue
		}
		s := &peers[len(peers)-1]
		number, _ := strconv.ParseUint(value, 10, 63)
		switch name {
		case "endpoint":
			s.endpoint = value
		case "last_handshake_time_sec":
			seconds = int64(number)
		case "last_handshake_time_nsec":
			if seconds != 0 {
				s.last = time.Unix(seconds, int64(number))
			}
		case "rx_bytes":
			s.in = number
		case "tx_bytes":
			s.out = number
		}
	}
	return peers
}

// port is the UDP port, 0 if the device does not say.
func (s *server) port() uint16 {
	state, _ := s.device.IpcGet()
	for line := range strings.Lines(state) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "listen_port="); ok {
			n, _ := strconv.ParseUint(v, 10, 16)
			return uint16(n)
		}
	}
	return 0
}

// peers is what wireguard-go says of them.
func (s *server) peers() []status {
	state, err := s.device.IpcGet()
	if err != nil {
		s.logger.Warn("wireguard does not say its state", "err", err)
	}
	return parseStatus(state)
}

// where is the endpoint of the peer that wireguard-go calls so.
func (s *server) where(name string) string {
	for _, p := range s.peers() {
		if shortName(p.public) == name {
			return p.endpoint
		}
	}
	return ""
}
