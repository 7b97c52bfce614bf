package stack

import (
	"l3extract/tcp"
	"l3extract/udp"
)

// SmallConfig returns a Config for a process that must not use more than some 40 MiB
// altogether, as an iOS network extension (50 MiB) or a small router: 12 MiB for all
// buffers, with room for some 200 flows at once and windows for 10 Mbit/s at 100
// ms each. Set Addrs and what else differs, and give the rest of the process its bounds:
//
//	debug.SetMemoryLimit(32 << 20) // the collector works harder instead of growing
//	debug.SetGCPercent(50)
//
// What does not fit is refused or dropped and counted, as everywhere; the flow that
// holds most gives way first.
func SmallConfig() *Config {
	return &Config{
		MemoryLimit: 12 << 20,
		TCP: tcp.Config{
			MaxStreams:       1024,
			MaxHandshakes:    256,
			AcceptQueue:      256,
			WriteBuffer:      4 << 10,
			MaxReceiveBuffer: 128 << 10,
			MaxSendBuffer:    128 << 10,
		},
		UDP: udp.Config{
			MaxSockets:      512,
			AcceptQueue:     64,
			QueueBytes:      128 << 10,
			QueueDatagrams:  128,
			TotalQueueBytes: 2 << 20,
		},
	}
}
