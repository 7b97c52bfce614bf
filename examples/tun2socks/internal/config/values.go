package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// A value that is written as text, in a flag and in the file alike. Each type below
// implements encoding.TextMarshaler and TextUnmarshaler; its UnmarshalYAML only adds
// where in the file the text stands.

// Size is a number of bytes, such as 65536, 64k, 64KiB or 1MiB; as in other programs
// of this kind a k is 1024.
type Size int64

// units are tried in order.
var units = []struct {
	name string
	size int64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"b", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	text, unit := strings.ToLower(string(b)), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return errors.New("want a number of bytes, as 65536, 64KiB or 1MiB")
	}
	*s = Size(n * unit)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns the size in the largest unit that needs no fraction.
func (s Size) String() string {
	switch {
	case s == 0:
		return "0"
	case s%(1<<30) == 0:
		return strconv.FormatInt(int64(s>>30), 10) + "GiB"
	case s%(1<<20) == 0:
		return strconv.FormatInt(int64(s>>20), 10) + "MiB"
	case s%(1<<10) == 0:
		return strconv.FormatInt(int64(s>>10), 10) + "KiB"
	}
	return strconv.FormatInt(int64(s), 10)
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (s *Size) UnmarshalYAML(n ast.Node) error { return text(n, s) }

// Duration is a time.Duration, such as 5m or 1h30m.
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return errors.New("want a time with its unit, as 300ms, 10s or 1h30m")
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String returns the duration without units of which there are none: 5m, not 5m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (d *Duration) UnmarshalYAML(n ast.Node) error { return text(n, d) }

// Mark is what SO_MARK sets, such as 1 or 0x1f.
type Mark uint32

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mark) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 0, 32)
	if err != nil {
		return errors.New("want a number of 32 bits, as 1 or 0x1f")
	}
	*m = Mark(n)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m Mark) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%#x", uint32(m)), nil }

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (m *Mark) UnmarshalYAML(n ast.Node) error { return text(n, m) }

// Level is what is logged.
type Level slog.Level

// Silent is above every level that is logged.
const Silent = Level(slog.LevelError + 4)

var levels = []struct {
	name  string
	level Level
}{
	{"debug", Level(slog.LevelDebug)}, {"info", Level(slog.LevelInfo)}, {"warn", Level(slog.LevelWarn)},
	{"warning", Level(slog.LevelWarn)}, {"error", Level(slog.LevelError)}, {"silent", Silent},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(b []byte) error {
	for _, known := range levels {
		if strings.EqualFold(string(b), known.name) {
			*l = known.level
			return nil
		}
	}
	return errors.New("want debug, info, warn, error or silent")
}

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) {
	for _, known := range levels {
		if l == known.level {
			return []byte(known.name), nil
		}
	}
	return nil, fmt.Errorf("no level %d", l)
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (l *Level) UnmarshalYAML(n ast.Node) error { return text(n, l) }

// Prefix is a network, or one address, which is the network of it alone.
type Prefix struct{ netip.Prefix }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Prefix) UnmarshalText(b []byte) (err error) {
	if a, addrErr := netip.ParseAddr(string(b)); addrErr == nil && a.Zone() == "" {
		p.Prefix = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
	} else if p.Prefix, err = netip.ParsePrefix(string(b)); err != nil {
		return errors.New("want an address or a network, as 10.0.0.0/8 or 2001:db8::1")
	}
	if p.Prefix != p.Masked() {
		return fmt.Errorf("bits are set behind the prefix; did you mean %v?", p.Masked())
	}
	return nil
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (p *Prefix) UnmarshalYAML(n ast.Node) error { return text(n, p) }

// Ports is a port or a range of ports: 443 or 8000-8999.
type Ports struct{ First, Last uint16 }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Ports) UnmarshalText(b []byte) error {
	first, last, isRange := strings.Cut(string(b), "-")
	if !isRange {
		last = first
	}
	lo, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	hi, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if errors.Join(err1, err2) != nil || lo == 0 || hi < lo {
		return errors.New("want a port or a range of ports, as 443 or 8000-8999")
	}
	p.First, p.Last = uint16(lo), uint16(hi)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (p Ports) MarshalText() ([]byte, error) {
	if p.First == p.Last {
		return strconv.AppendUint(nil, uint64(p.First), 10), nil
	}
	return fmt.Appendf(nil, "%d-%d", p.First, p.Last), nil
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (p *Ports) UnmarshalYAML(n ast.Node) error { return text(n, p) }

// Addr is an address without a zone.
type Addr struct{ netip.Addr }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Addr) UnmarshalText(b []byte) (err error) {
	if a.Addr, err = netip.ParseAddr(string(b)); err != nil || a.Zone() != "" {
		return errors.New("want an address, as 9.9.9.9 or 2620:fe::fe")
	}
	return nil
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (a *Addr) UnmarshalYAML(n ast.Node) error { return text(n, a) }
