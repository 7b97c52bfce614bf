package status

import (
	"context"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"l3extract/adapters/control"
	"l3extract/stack"
)

// Source is where the figures come from: a *control.Server or a *control.Client.
type Source interface {
	Stats(ctx context.Context) (control.Stats, error)
	Flows(ctx context.Context, q control.Query) (control.Flows, error)
	Kill(ctx context.Context, id stack.FlowID) error
}

// Period is how often the figures are asked for.
const Period = time.Second

// maxFlows is how many flows are looked at: those that have moved most.
const maxFlows = 1000

// Show fills the terminal of in and out with the figures of s until its user ends it or ctx
// ends. Title names what is shown; log, if not nil, is shown below the table. It starts
// goroutines and returns when they have ended.
func Show(ctx context.Context, s Source, title string, log *Log, in io.Reader, out io.Writer) error {
	return show(ctx, &model{source: s, title: title, log: log}, tea.WithInput(in), tea.WithOutput(out))
}

func show(ctx context.Context, m *model, opts ...tea.ProgramOption) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.ctx, m.width, m.height = ctx, 80, 24
	p := tea.NewProgram(m, append(opts, tea.WithoutSignalHandler())...)
	defer context.AfterFunc(ctx, p.Quit)()
	_, err := p.Run()
	return err
}

// model is what bubbletea asks for the screen. Only its goroutine uses it.
type model struct {
	ctx    context.Context // of the questions to source
	source Source
	title  string
	log    *Log

	width, height int
	err           error // of the last question
	now, before   *sample
	rows          []row
	order         order
	selected      stack.FlowID // 0: none
	note          string
}

// sample is one answer.
type sample struct {
	stats control.Stats
	flows control.Flows
	moved map[stack.FlowID][2]uint64 // bytes in and out
}

type (
	answerMsg struct {
		sample *sample
		err    error
	}
	askMsg  struct{}
	noteMsg string
)

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return m.ask }

// ask gets a sample. It runs on a goroutine of bubbletea's.
func (m *model) ask() tea.Msg {
	var s sample
	var err error
	if s.stats, err = m.source.Stats(m.ctx); err != nil {
		return answerMsg{err: err}
	}
	if s.flows, err = m.source.Flows(m.ctx, control.Query{Sort: "bytes", Limit: maxFlows}); err != nil {
		return answerMsg{err: err}
	}
	s.moved = make(map[stack.FlowID][2]uint64, len(s.flows.Flows))
	for _, f := range s.flows.Flows {
		s.moved[f.ID] = [2]uint64{f.In, f.Out}
	}
	return answerMsg{sample: &s}
}

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case askMsg:
		return m, m.ask
	case noteMsg:
		m.note = string(msg)
	case answerMsg:
		if m.err = msg.err; msg.sample != nil {
			m.before, m.now = m.now, msg.sample
			m.arrange()
		}
		return m, tea.Tick(Period, func(time.Time) tea.Msg { return askMsg{} })
	case tea.KeyPressMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

func (m *model) key(key string) tea.Cmd {
	m.note = ""
	switch key {
	case "q", "ctrl+c", "esc":
		return tea.Quit
	case "s":
		m.order = (m.order + 1) % orders
		m.arrange()
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "x":
		if id := m.selected; id != 0 {
			return func() tea.Msg { // on a goroutine of bubbletea's
				if err := m.source.Kill(m.ctx, id); err != nil {
					return noteMsg(err.Error())
				}
				return noteMsg("ended")
			}
		}
	}
	return nil
}

// move selects the row before or behind the selected one.
func (m *model) move(by int) {
	if len(m.rows) == 0 {
		return
	}
	at := -1
	for i := range m.rows {
		if m.rows[i].flow.ID == m.selected {
			at = i
		}
	}
	switch {
	case at < 0 && by < 0:
		at = len(m.rows) - 1
	case at < 0:
		at = 0
	default:
		at = min(max(at+by, 0), len(m.rows)-1)
	}
	m.selected = m.rows[at].flow.ID
}
