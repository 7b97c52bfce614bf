package status

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"l3extract/adapters/control"
	"l3extract/adapters/forward"
	"l3extract/internal/leak"
	"l3extract/stack"
)

func TestMain(m *testing.M) { leak.Main(m) }

// fake is a Source whose counters grow with each question.
type fake struct {
	asked  int
	err    error
	flows  int
	killed []stack.FlowID
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (f *fake) Stats(context.Context) (control.Stats, error) {
	f.asked++
	n := uint64(f.asked)
	return control.Stats{
		Version: "v9", Started: start, Now: start.Add(time.Duration(n) * time.Second),
		Stack:   stack.Stats{BytesIn: n * 2000, PacketsIn: n * 2, BytesOut: n * 5_000_000, Flows: f.flows, Drops: map[string]uint64{"martian": n * 3, "limit": 1}},
		Forward: &forward.Stats{Dialing: 4, DialsFailed: 17},
		Ended:   map[string]map[string]uint64{"tcp": {"closed": 20, "idle": 2}, "udp": {"idle": 5}},
	}, f.err
}

func (f *fake) Flows(_ context.Context, q control.Query) (all control.Flows, err error) {
	all.Live = f.flows
	for i := range min(f.flows, q.Limit) {
		all.Flows = append(all.Flows, control.Flow{
			ID: stack.FlowID(i + 1), Network: "tcp", Source: netip.MustParseAddrPort("10.0.0.1:1000"),
			Destination: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i+1)), State: "ESTABLISHED",
			Opened: start, In: uint64(f.asked * i * 100), Out: 7, Outbound: "work",
		})
	}
	if f.flows > 1 {
		all.Flows[1].Name = "a\x1b[2Jb.example"
	}
	return all, nil
}

func (f *fake) Kill(_ context.Context, id stack.FlowID) error {
	f.killed = append(f.killed, id)
	if id == 1 {
		return control.ErrNoFlow
	}
	return nil
}

// step asks once and shows the answer.
func (m *model) step() { m.Update(m.ask()) }

func press(m *model, text string) tea.Cmd {
	_, cmd := m.Update(tea.KeyPressMsg{Text: text, Code: rune(text[0])})
	return cmd
}

func TestScreen(t *testing.T) {
	src := &fake{flows: 100}
	m := &model{ctx: t.Context(), source: src, title: "tun7", width: 140, height: 24, log: new(Log)}
	if s := m.screen(); !strings.Contains(s, "waiting") {
		t.Error(s)
	}
	fmt.Fprintf(m.log, "first line\nlast \x1b[31mline\n")
	m.step()
	m.step()
	screen := ansi.Strip(m.screen())
	for _, want := range []string{
		"tun7  up 2s  v9", "from clients 2.0KB/s (2 packets/s)", "to clients 5.0MB/s", "dropped 3/s", "flows 100", "dials in flight 4, failed 17",
		"ended   27  closed 20, idle 7", "dropped 7  martian 6, limit 1", "192.0.2.1:100", "9.9KB/s", "work", "last line", "q quit", "sort (rate)",
	} {
		if want == "last line" {
			want = "last ?[31mline"
		}
		if !strings.Contains(screen, want) {
			t.Errorf("%q is missing in\n%s", want, screen)
		}
	}
	lines := strings.Split(screen, "\n")
	if len(lines) != 24 {
		t.Errorf("%d lines", len(lines))
	}
	if first := lines[7]; !strings.Contains(first, "192.0.2.1:100 ") {
		t.Errorf("the fastest flow is not the first:\n%s", screen)
	}
	press(m, "s")
	press(m, "s")
	if first := strings.Split(ansi.Strip(m.screen()), "\n")[7]; !strings.Contains(first, "192.0.2.1:1 ") {
		t.Errorf("by age the first is %s", first)
	}
	m.Update(tea.WindowSizeMsg{Width: 30, Height: 9})
	for _, line := range strings.Split(m.screen(), "\n") {
		if ansi.StringWidth(line) > 30 {
			t.Errorf("wider than 30: %q", line)
		}
	}
	if n := strings.Count(m.screen(), "\n") + 1; n > 9 {
		t.Errorf("%d lines of 9", n)
	}
	m.Update(tea.WindowSizeMsg{Width: 1, Height: 1})
	m.screen()
}

// TestForeignText: what a client called its destination does not drive the terminal.
func TestForeignText(t *testing.T) {
	m := &model{ctx: t.Context(), source: &fake{flows: 2}, width: 200, height: 24}
	m.step()
	if s := m.screen(); strings.Contains(s, "\x1b[2J") || !strings.Contains(s, "a?[2Jb.example:2") {
		t.Errorf("%q", s)
	}
}

func TestKeys(t *testing.T) {
	src := &fake{flows: 3}
	m := &model{ctx: t.Context(), source: src, width: 100, height: 24, order: byAge}
	press(m, "j") // without flows
	m.step()
	press(m, "j")
	press(m, "j")
	if m.selected != 2 {
		t.Fatalf("%d is selected", m.selected)
	}
	m.Update(press(m, "x")())
	press(m, "k")
	press(m, "k")
	if cmd := press(m, "x"); cmd != nil {
		m.Update(cmd())
	}
	if fmt.Sprint(src.killed) != "[2 1]" || !strings.Contains(m.screen(), "no such flow") {
		t.Errorf("ended %v\n%s", src.killed, m.screen())
	}
	src.flows = 0
	m.step()
	if m.selected != 0 || press(m, "x") != nil {
		t.Error("a flow that has gone is selected")
	}
	if cmd := press(m, "q"); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not quit")
	}
	src.err = errors.New("connection refused")
	m.step()
	if !strings.Contains(m.screen(), "no figures: connection refused") {
		t.Error(m.screen())
	}
}

// TestShow runs it on a terminal that is none, until its context ends.
func TestShow(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	late := time.AfterFunc(20*time.Second, cancel)
	defer late.Stop()
	shown := &waiter{want: "q quit", seen: cancel}
	m := &model{source: &fake{flows: 3}, title: "tun7"}
	if err := show(ctx, m, tea.WithInput(r), tea.WithOutput(shown), tea.WithWindowSize(80, 24)); err != nil {
		t.Error(err)
	}
	if !strings.Contains(ansi.Strip(shown.all.String()), shown.want) {
		t.Errorf("it ended by itself: %q", shown.all.String())
	}
}

// waiter calls seen when what was written holds want.
type waiter struct {
	want string
	seen func()
	all  bytes.Buffer
}

func (w *waiter) Write(b []byte) (int, error) {
	w.all.Write(b)
	if strings.Contains(ansi.Strip(w.all.String()), w.want) {
		w.seen()
	}
	return len(b), nil
}

func TestLog(t *testing.T) {
	l := new(Log)
	for i := range 3 * maxLines {
		fmt.Fprintf(l, "line %d\nbegun ", i)
	}
	if got := l.last(1)[0]; got != fmt.Sprintf("begun line %d", 3*maxLines-1) {
		t.Errorf("%q", got)
	}
	l.Write(bytes.Repeat([]byte("x"), 1<<20))
	if len(l.part) > maxLine || len(l.lines) != maxLines {
		t.Errorf("%d bytes, %d lines are kept", len(l.part), len(l.lines))
	}
	var out bytes.Buffer
	l.Release(&out)
	io.WriteString(l, "late\n")
	if n := strings.Count(out.String(), "\n"); n != maxLines+1 || !strings.HasSuffix(out.String(), "\nlate\n") {
		t.Errorf("%d lines", n)
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[float64]string{0: "0B", 999: "999B", 1000: "1.0KB", 9949: "9.9KB", 12_345: "12KB", 999_600: "1.0MB", 5e9: "5.0GB", 2e12: "2.0TB", 5e15: "5000.0TB"} {
		if got := size(n); got != want {
			t.Errorf("%v: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-1: "0s", 99 * time.Second: "99s", 2 * time.Minute: "2m", 99 * time.Hour: "99h", 240 * time.Hour: "10d"} {
		if got := ago(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
