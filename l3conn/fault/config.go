package fault

import (
	"fmt"
	"time"
)

// Defaults of Direction.
const (
	// DefaultBurstLength is the mean number of packets that a burst loses.
	DefaultBurstLength = 4
	// DefaultReorderDelay lets some packets of a busy link pass, and is within the
	// round trip of most.
	DefaultReorderDelay = time.Millisecond
	// DefaultQueue is 20 ms at 100 Mbit/s, in bytes.
	DefaultQueue = 256 << 10
	// DefaultHold is 50 ms at 2.5 Gbit/s, in bytes.
	DefaultHold = 16 << 20
)

// Config is read once by New; nil and the zero value do nothing to any packet.
type Config struct {
	// Seed chooses one of many reproducible runs. Default: 0, a seed like others.
	Seed uint64
	// In is what happens to packets that are read, Out to those written.
	In, Out Direction
}

// Direction is what happens to the packets of one direction. Probabilities are 0
// to 1, per packet.
type Direction struct {
	// Drop is the probability that a packet is lost on its own. Default: 0.
	Drop float64
	// Burst is the probability that a packet begins a burst of loss, which takes
	// it and those that follow: BurstLength of them in the mean. Together with Drop
	// this is the model of Gilbert and Elliott. Default: 0.
	Burst float64
	// BurstLength is the mean length of a burst, in packets, at least 1.
	// Default: 4.
	BurstLength float64
	// Duplicate is the probability that a packet comes twice in a row. Default: 0.
	Duplicate float64
	// Corrupt is the probability that one bit of a packet, headers included, is
	// flipped. A checksum finds that if it covers the bit: none covers the hop limit,
	// traffic class and flow label of IPv6, nor a UDP datagram over IPv4 that has
	// none. Default: 0.
	Corrupt float64

	// Delay is what every packet takes. Default: 0.
	Delay time.Duration
	// Jitter is the most that a packet takes beyond that, chosen evenly. Packets
	// stay in order: one that would overtake waits for the one before it.
	// Default: 0.
	Jitter time.Duration
	// Reorder is the probability that a packet takes ReorderDelay more, and is
	// overtaken by those behind it. Default: 0.
	Reorder float64
	// ReorderDelay is how much longer a reordered packet takes. Default: 1 ms.
	ReorderDelay time.Duration

	// Rate is the rate of the link in bits of IP packets per second. Default: 0,
	// no limit.
	Rate int64
	// Queue bounds what waits because of Rate, in bytes, the packet being sent
	// included; an idle link takes any packet. What does not fit is dropped and
	// counted. Default: 256 KiB.
	Queue int
	// Hold bounds the memory of all packets that are under way, in bytes; some
	// two thirds of it are packets where these are of 1500 bytes. What does not
	// fit is dropped and counted; where nothing takes time, In stops reading
	// instead. Default: 16 MiB.
	Hold int
}

// longest is the longest time that a Direction may ask for.
const longest = time.Hour

// largest is the largest queue, in bytes.
const largest = 1 << 30

func (c *Config) withDefaults() (Config, error) {
	var d Config
	if c != nil {
		d = *c
	}
	for _, dir := range []struct {
		name string
		d    *Direction
	}{{"In", &d.In}, {"Out", &d.Out}} {
		if err := dir.d.validate(); err != nil {
			return Config{}, fmt.Errorf("fault: Config.%s.%w", dir.name, err)
		}
		dir.d.defaults()
	}
	return d, nil
}

func (d *Direction) validate() error {
	for _, p := range []struct {
		name string
		p    float64
	}{{"Drop", d.Drop}, {"Burst", d.Burst}, {"Duplicate", d.Duplicate}, {"Corrupt", d.Corrupt}, {"Reorder", d.Reorder}} {
		if !(p.p >= 0 && p.p <= 1) { // NaN is neither
			return fmt.Errorf("%s is %v, must be 0 to 1", p.name, p.p)
		}
	}
	if !(d.BurstLength == 0 || d.BurstLength >= 1) {
		return fmt.Errorf("%s is %v, must be at least 1", "BurstLength", d.BurstLength)
	}
	for _, t := range []struct {
		name string
		t    time.Duration
	}{{"Delay", d.Delay}, {"Jitter", d.Jitter}, {"ReorderDelay", d.ReorderDelay}} {
		if t.t < 0 || t.t > longest {
			return fmt.Errorf("%s is %v, must be 0 to %v", t.name, t.t, longest)
		}
	}
	if d.Rate < 0 {
		return fmt.Errorf("%s is %d, must not be negative", "Rate", d.Rate)
	}
	for _, q := range []struct {
		name string
		n    int
	}{{"Queue", d.Queue}, {"Hold", d.Hold}} {
		if q.n < 0 || q.n > largest {
			return fmt.Errorf("%s is %d, must be 0 to %d", q.name, q.n, largest)
		}
	}
	return nil
}

func (d *Direction) defaults() {
	if d.BurstLength == 0 {
		d.BurstLength = DefaultBurstLength
	}
	if d.ReorderDelay == 0 {
		d.ReorderDelay = DefaultReorderDelay
	}
	if d.Queue == 0 {
		d.Queue = DefaultQueue
	}
	if d.Hold == 0 {
		d.Hold = DefaultHold
	}
}

// timed reports whether packets may take time.
func (d *Direction) timed() bool {
	return d.Delay > 0 || d.Jitter > 0 || d.Reorder > 0 || d.Rate > 0
}

// faulty reports whether anything may happen to a packet.
func (d *Direction) faulty() bool {
	return d.timed() || d.Drop > 0 || d.Burst > 0 || d.Duplicate > 0 || d.Corrupt > 0
}
