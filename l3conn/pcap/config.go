package pcap

import "fmt"

// Defaults of Config.
const (
	// DefaultSnapLen keeps every packet whole, in bytes.
	DefaultSnapLen = 262144
	// DefaultBuffer is the room for records that are not written yet, in bytes.
	DefaultBuffer = 4 << 20
)

// Config is read once by New and Create; nil and the zero value are the defaults.
type Config struct {
	// SnapLen is the number of bytes kept of each packet. Default: 262144, all.
	SnapLen int
	// Nanoseconds chooses time stamps in nanoseconds. Default: microseconds,
	// which every reader understands.
	Nanoseconds bool
	// Buffer bounds the records that wait to be written, in bytes; at least
	// 128 KiB. Default: 4 MiB. Beyond it records are dropped and counted. As
	// much again may be in the middle of being written.
	Buffer int
	// OnError is called once, from the capture's goroutine, with the error that
	// ended the capture. It may take its time, but must not call Stop. Default: none.
	OnError func(error)
}

// minBuffer holds the largest IP packet with some to spare.
const minBuffer = 128 << 10

func (c *Config) withDefaults() (Config, error) {
	var d Config
	if c != nil {
		d = *c
	}
	if d.SnapLen == 0 {
		d.SnapLen = DefaultSnapLen
	}
	if d.Buffer == 0 {
		d.Buffer = DefaultBuffer
	}
	switch {
	case d.SnapLen < 0 || d.SnapLen > DefaultSnapLen:
		return d, fmt.Errorf("pcap: Config.SnapLen %d is not within 1 and %d", d.SnapLen, DefaultSnapLen)
	case d.Buffer < minBuffer:
		return d, fmt.Errorf("pcap: Config.Buffer %d is below %d", d.Buffer, minBuffer)
	}
	return d, nil
}
