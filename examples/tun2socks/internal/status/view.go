package status

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"l3extract/stack"
)

const (
	bold    = "\x1b[1m"
	inverse = "\x1b[7m"
	dim     = "\x1b[2m"
	plain   = "\x1b[0m"
)

// View implements tea.Model.
func (m *model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = "tun2socks"
	return v
}

// screen returns all lines, none wider than the terminal and no more of them than it has.
func (m *model) screen() string {
	top := m.head()
	bottom := m.foot()
	var lines []string
	lines = append(lines, top...)
	if room := m.height - len(top) - len(bottom); room > 0 {
		lines = append(lines, m.table(room)...)
	}
	lines = append(lines, bottom...)
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], m.width, "") + plain
	}
	return strings.Join(lines[:min(len(lines), m.height)], "\n")
}

// head says what all flows together do.
func (m *model) head() []string {
	if m.now == nil {
		return []string{bold + printable(m.title), "waiting for figures ..."}
	}
	st := &m.now.stats
	up := st.Now.Sub(st.Started).Round(time.Second)
	lines := []string{
		fmt.Sprintf("%s%s%s  up %v  %s", bold, printable(m.title), plain, up, printable(st.Version)),
		fmt.Sprintf("from clients %s (%s packets/s)   to clients %s (%s packets/s)   dropped %s/s",
			speed(m.total(func(s *stack.Stats) uint64 { return s.BytesIn })), whole(m.total(func(s *stack.Stats) uint64 { return s.PacketsIn })),
			speed(m.total(func(s *stack.Stats) uint64 { return s.BytesOut })), whole(m.total(func(s *stack.Stats) uint64 { return s.PacketsOut })),
			whole(m.total(dropped))),
	}
	flows := fmt.Sprintf("flows %d   handshakes %d   UDP sockets %d", st.Stack.Flows, st.Stack.TCP.Handshakes.Held, st.Stack.UDP.Sockets)
	if st.Forward != nil {
		flows += fmt.Sprintf("   dials in flight %d, failed %s", st.Forward.Dialing, number(st.Forward.DialsFailed))
	}
	memory := size(float64(st.Stack.Memory.Used))
	if st.Stack.Memory.Limit > 0 {
		memory += " of " + size(float64(st.Stack.Memory.Limit))
	}
	lines = append(lines, flows+"   buffers "+memory+"   process "+size(float64(st.Process.System)))
	ended := make(map[string]uint64)
	for _, by := range st.Ended {
		for cause, n := range by {
			ended[cause] += n
		}
	}
	for _, l := range []struct {
		what   string
		counts map[string]uint64
	}{{"ended  ", ended}, {"dropped", st.Stack.Drops}} {
		list, sum := most(l.counts, 5)
		lines = append(lines, fmt.Sprintf("%s %s  %s", l.what, number(sum), strings.Join(list, ", ")))
	}
	return append(lines, "")
}

// foot has the keys, and what was logged last.
func (m *model) foot() []string {
	var lines []string
	if m.err != nil {
		lines = append(lines, bold+"no figures: "+printable(m.err.Error()))
	}
	if m.log != nil {
		for _, l := range m.log.last(max(m.height/6, 1)) {
			lines = append(lines, dim+printable(l))
		}
	}
	keys := "q quit   up/down select   x end the flow   s sort (" + orderNames[m.order] + ")"
	if m.note != "" {
		keys += "   " + printable(m.note)
	}
	return append(lines, inverse+keys+strings.Repeat(" ", max(0, m.width-len(keys))))
}

// table returns as many rows as there is room for, the selected one among them, and fills
// the rest.
func (m *model) table(room int) []string {
	lines := []string{bold + fmt.Sprintf("%-4s %-24s %-32s %9s %9s %8s %8s %6s  %-11s %s",
		"", "CLIENT", "DESTINATION", "IN/s", "OUT/s", "IN", "OUT", "AGE", "STATE", "VIA")}
	first := 0
	for i := range m.rows {
		if m.rows[i].flow.ID == m.selected {
			first = max(0, i-(room-2)+1)
		}
	}
	for _, r := range m.rows[first:] {
		if len(lines) == room {
			break
		}
		line := m.line(&r)
		if r.flow.ID == m.selected {
			line = inverse + line
		}
		lines = append(lines, line)
	}
	for len(lines) < room {
		lines = append(lines, "")
	}
	return lines[:room]
}

func (m *model) line(r *row) string {
	f := &r.flow
	to := ""
	switch {
	case f.Name != "":
		to = f.Name + ":" + strconv.Itoa(int(f.Destination.Port()))
	case f.Destination.IsValid():
		to = f.Destination.String()
	default:
		to = "(any)"
	}
	age := m.now.stats.Now.Sub(f.Opened)
	return fmt.Sprintf("%-4s %-24s %-32s %9s %9s %8s %8s %6s  %-11s %s", f.Network,
		short(client(f.Source), 24), short(printable(to), 32), speed(r.in), speed(r.out), size(float64(f.In)), size(float64(f.Out)),
		ago(age), short(f.State, 11), printable(f.Outbound))
}

func client(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// short cuts the beginning, as the end of a name or address says more.
func short(s string, n int) string {
	if w := ansi.StringWidth(s); w > n {
		return "~" + ansi.TruncateLeft(s, w-n+1, "")
	}
	return s
}

// printable keeps what others have sent, such as names, from driving the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func speed(bytes float64) string {
	if bytes < 0.5 {
		return "-"
	}
	return size(bytes) + "/s"
}

// size returns bytes with three digits at least.
func size(n float64) string {
	for _, unit := range []string{"B", "KB", "MB", "GB"} {
		switch {
		case n < 999.5 && unit == "B":
			return strconv.FormatFloat(n, 'f', 0, 64) + unit
		case n < 9.995:
			return strconv.FormatFloat(n, 'f', 1, 64) + unit
		case n < 999.5:
			return strconv.FormatFloat(n, 'f', 0, 64) + unit
		}
		n /= 1000
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + "TB"
}

func whole(n float64) string { return number(uint64(n + 0.5)) }
func number(n uint64) string { return strconv.FormatUint(n, 10) }

func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 100*time.Second:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < 100*time.Minute:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 100*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}
