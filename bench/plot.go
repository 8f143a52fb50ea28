package main

import (
	"bytes"
	"fmt"
	"image/color"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Size of a picture.
const (
	pictureWidth  = 16 * vg.Centimeter
	pictureHeight = 8 * vg.Centimeter
)

// seriesColors can be told apart on white and on black, also by most who see few colours.
func seriesColors() []color.Color {
	return []color.Color{color.RGBA{0x2f, 0x81, 0xf7, 0xff}, color.RGBA{0xdb, 0x8b, 0x0b, 0xff}, color.RGBA{0x8e, 0x8e, 0x93, 0xff}}
}

// newPlot is an empty picture in the one style of all of them.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	sans := func(f *font.Font, size font.Length) {
		*f = font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	}
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(8)
	sans(&p.Title.TextStyle.Font, 12)
	sans(&p.Legend.TextStyle.Font, 10)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		sans(&a.Label.TextStyle.Font, 10)
		sans(&a.Tick.Label.Font, 10)
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs, p.Legend.Padding = vg.Points(8), vg.Points(2)
	p.Y.Min = 0
	p.Y.Tick.Marker = thousands{}
	return p
}

// thousands are a plot's usual ticks with whole numbers.
type thousands struct{}

// Ticks implements [plot.Ticker].
func (thousands) Ticks(low, high float64) []plot.Tick {
	all := plot.DefaultTicks{}.Ticks(low, high)
	for i := range all {
		if all[i].Label != "" {
			all[i].Label = count(all[i].Value)
		}
	}
	return all
}

// A series is what one colour shows.
type series struct {
	name   string
	values []float64
}

// bars draws series side by side, with a place for each of labels.
func bars(title, x, y string, labels []string, all []series) (*plot.Plot, error) {
	p := newPlot(title, x, y)
	width := vg.Points(22)
	most := 0.0
	for i, s := range all {
		b, err := plotter.NewBarChart(plotter.Values(s.values), width)
		if err != nil {
			return nil, err
		}
		b.Color, b.LineStyle.Width = seriesColors()[i], 0
		b.Offset = width * vg.Length(2*i-len(all)+1) / 2
		p.Add(b)
		p.Legend.Add(s.name, b)
		for _, v := range s.values {
			most = max(most, v)
		}
	}
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.5, float64(len(labels))-0.5
	p.Y.Max = 1.35 * most // room for the legend
	return p, nil
}

// lines draws series over the numbers xs, from the origin on.
func lines(title, x, y string, xs []float64, all []series) (*plot.Plot, error) {
	p := newPlot(title, x, y)
	ticks := plot.ConstantTicks{}
	for _, v := range xs {
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%g", v)})
	}
	p.X.Tick.Marker = ticks
	p.X.Min = 0
	for i, s := range all {
		points := make(plotter.XYs, len(xs))
		for k := range xs {
			points[k] = plotter.XY{X: xs[k], Y: s.values[k]}
		}
		l, err := plotter.NewLine(points)
		if err != nil {
			return nil, err
		}
		l.Width, l.Color = vg.Points(1.8), seriesColors()[i]
		p.Add(l)
		p.Legend.Add(s.name, l)
	}
	return p, nil
}

// Whoever reads in the dark gets light ink on dark paper. Renderers that do not know the question draw dark ink on white.
const darkStyle = `<style>
text { font-family: "Liberation Sans", Arial, Helvetica, sans-serif !important; }
@media (prefers-color-scheme: dark) {
  [style*="fill:#FFFFFF"] { fill: #0d1117 !important; }
  [style*="stroke:#000000"] { stroke: #c9d1d9 !important; }
  text { fill: #c9d1d9 !important; }
}
</style>
`

// render makes the file of a picture.
func render(name, alt string, p *plot.Plot) (picture, error) {
	c := vgsvg.New(pictureWidth, pictureHeight)
	all, margin := draw.New(c), vg.Points(8)
	all.SetColor(color.White) // paper, under the margins too
	all.Fill(all.Path())
	p.BackgroundColor = nil
	p.Draw(draw.Crop(all, margin, -margin, margin, -margin))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return picture{}, err
	}
	head, rest, ok := strings.Cut(b.String(), "<g ")
	if !ok {
		return picture{}, fmt.Errorf("%s: the drawing has no group", name)
	}
	return picture{name, alt, []byte(head + darkStyle + "<g " + rest)}, nil
}
