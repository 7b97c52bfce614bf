package main

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours of Okabe and Ito, which everybody can tell apart; ours is the strongest.
var (
	colours = map[string]color.Color{
		"ours": color.RGBA{R: 213, G: 94, A: 255}, "ours-1": color.RGBA{R: 230, G: 159, A: 255}, "ours-all": color.RGBA{R: 230, G: 159, A: 255},
		"ours-workers": color.RGBA{A: 255},
		"proxy-1":      color.RGBA{R: 150, G: 150, B: 150, A: 255}, "proxy": color.RGBA{R: 95, G: 95, B: 95, A: 255},
		"tun2socks": color.RGBA{G: 114, B: 178, A: 255}, "sing-box": color.RGBA{R: 86, G: 180, B: 233, A: 255},
		"pasta": color.RGBA{G: 158, B: 115, A: 255}, "slirp4netns": color.RGBA{R: 204, G: 121, B: 167, A: 255},
	}
	otherColour = color.RGBA{R: 240, G: 228, B: 66, A: 255}
)

// chart is an SVG that the report has when there is one of its figures.
type chart struct {
	name    string
	figures []string
	draw    func(r *report, w io.Writer) error
}

var charts = []chart{
	{"throughput", []string{"up1-cpu", "down1-cpu", "up8-cpu", "down8-cpu"}, (*report).throughputChart},
	{"cost", []string{connectionCPU, memoryEach}, (*report).costChart},
}

// throughputChart shows the traffic for a second of processor time, a group of bars
// for each kind of transfer.
func (r *report) throughputChart(w io.Writer) error {
	p := newPlot("Gbit per CPU second: longer is better")
	var names []string
	for _, name := range bulkNames {
		names = append(names, name+perCPU)
	}
	programs := r.having(names...)
	const width, bar = 26 * vg.Centimeter, 5 * vg.Centimeter // of a group of bars
	each := bar / vg.Length(max(1, len(programs)))
	var highest float64
	for i, program := range programs {
		values := make(plotter.Values, len(names))
		labels := plotter.XYLabels{XYs: make(plotter.XYs, len(names)), Labels: make([]string, len(names))}
		for j, name := range names {
			v, ok := r.Medians[program][name]
			values[j], labels.XYs[j] = v, plotter.XY{X: float64(j), Y: v}
			if ok {
				labels.Labels[j] = short(v)
			}
			highest = max(highest, v)
		}
		b, err := plotter.NewBarChart(values, each*0.92)
		if err != nil {
			return err
		}
		b.Color, b.LineStyle.Width = colour(program), 0
		b.Offset = each * (vg.Length(i) - vg.Length(len(programs)-1)/2)
		l, err := plotter.NewLabels(labels)
		if err != nil {
			return err
		}
		l.Offset = vg.Point{X: b.Offset, Y: 2}
		for j := range l.TextStyle {
			l.TextStyle[j].XAlign, l.TextStyle[j].Font.Size, l.TextStyle[j].Font.Variant = text.XCenter, 6.5, "Sans"
		}
		p.Add(b, l)
		p.Legend.Add(program, b)
	}
	p.NominalX("1 stream up", "1 stream down", "8 streams up", "8 streams down")
	p.X.Width = 0
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	p.Y.Min, p.Y.Max = 0, nice(highest*1.3)  // room for the legend
	p.Legend.Top, p.Legend.Left = true, true // colours before names, whose width depends on the reader's fonts
	p.Legend.Padding = 2
	p.Legend.XOffs = 21 * vg.Centimeter
	return save(w, width, 11*vg.Centimeter, p)
}

// costChart shows what a connection costs, a bar for each program.
func (r *report) costChart(w io.Writer) error {
	var plots []*plot.Plot
	for _, c := range []struct {
		title, name string
		unit        float64
	}{
		{"CPU µs per short connection: shorter is better", connectionCPU, 1},
		{"KiB resident per idle connection: shorter is better", memoryEach, 1 << 10},
	} {
		if len(r.having(c.name)) == 0 {
			continue
		}
		p, err := r.bars(c.title, c.name, c.unit)
		if err != nil {
			return err
		}
		plots = append(plots, p)
	}
	return save(w, 26*vg.Centimeter, 8*vg.Centimeter, plots...)
}

// bars is a plot of one figure, the first program on top.
func (r *report) bars(title, name string, unit float64) (*plot.Plot, error) {
	p := newPlot(title)
	programs := r.having(name)
	names := make([]string, len(programs))
	labels := plotter.XYLabels{XYs: make(plotter.XYs, len(programs)), Labels: make([]string, len(programs))}
	highest := 0.0
	for i, program := range programs {
		at := len(programs) - 1 - i
		v := r.Medians[program][name] / unit
		b, err := plotter.NewBarChart(plotter.Values{v}, 12)
		if err != nil {
			return nil, err
		}
		b.XMin, b.Horizontal = float64(at), true
		b.Color, b.LineStyle.Width = colour(program), 0
		p.Add(b)
		names[at], labels.XYs[at], labels.Labels[at] = program, plotter.XY{X: v, Y: float64(at)}, short(v)
		highest = max(highest, v)
	}
	l, err := plotter.NewLabels(labels)
	if err != nil {
		return nil, err
	}
	l.Offset = vg.Point{X: 3}
	for i := range l.TextStyle {
		l.TextStyle[i].YAlign, l.TextStyle[i].Font.Size, l.TextStyle[i].Font.Variant = text.YCenter, 8, "Sans"
	}
	p.Add(l)
	p.NominalY(names...)
	p.Y.Width, p.Y.Padding = 0, 16 // the reader's fonts may be wider than ours
	p.Y.Min, p.Y.Max = -0.6, float64(len(programs))-0.4
	p.X.Min, p.X.Max = 0, nice(highest*1.1)
	return p, nil
}

// having lists the programs with one of these figures.
func (r *report) having(figures ...string) (names []string) {
	for _, p := range r.Programs {
		if slices.ContainsFunc(figures, func(f string) bool { _, ok := r.Medians[p][f]; return ok }) {
			names = append(names, p)
		}
	}
	return names
}

func newPlot(title string) *plot.Plot {
	p := plot.New()
	for _, f := range []*font.Font{&p.Title.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font} {
		f.Variant = "Sans"
	}
	p.Title.Text = title
	p.Title.Padding = 6
	p.Title.TextStyle.Font.Size = 11
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Tick.Label.Font.Size = 9
	}
	p.Legend.TextStyle.Font.Size = 8
	return p
}

// save draws plots side by side on white.
func save(w io.Writer, width, height vg.Length, plots ...*plot.Plot) error {
	const pad = 4 * vg.Millimeter
	c := vgsvg.New(width, height)
	tiles := draw.Tiles{Rows: 1, Cols: len(plots), PadX: 2 * pad, PadLeft: pad, PadRight: pad, PadTop: pad, PadBottom: pad}
	all := draw.New(c)
	all.FillPolygon(color.White, []vg.Point{{}, {X: width}, {X: width, Y: height}, {Y: height}})
	for i, p := range plots {
		p.Draw(tiles.At(all, i, 0))
	}
	_, err := c.WriteTo(w)
	return err
}

func colour(program string) color.Color {
	if c, ok := colours[program]; ok {
		return c
	}
	return otherColour
}

// short writes a figure with as many digits as a bar has room for.
func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// nice rounds up to the end of an axis; an axis without figures has one, too.
func nice(v float64) float64 {
	if v <= 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 1
	}
	step := math.Pow(10, math.Floor(math.Log10(v)))
	if v < 2*step {
		step /= 2
	}
	return math.Ceil(v/step) * step
}
