package statuspage

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // page.html and page.css
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// refreshSeconds is how often the page is asked for again. A page that renews itself disturbs screen readers, so that it says how to stop it.
const refreshSeconds = 10

//go:embed page.html
var pageSource string

//go:embed page.css
var styleSource string

// newPage parses the page, which is a part of the binary; a test renders it.
func newPage() *template.Template { return template.Must(template.New("page").Parse(pageSource)) }

// A style is the page's style sheet. It stands in the page, which needs one request then, and the policy names its digest: with 'unsafe-inline' whoever
// smuggles in a style could draw over the page.
type style struct {
	css    template.CSS
	policy string
}

func newStyle() style {
	digest := sha256.Sum256([]byte(styleSource))
	return style{template.CSS(styleSource), "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
}

// icon is a dot in the colour of the level, for the browser's tab: it must stand out on light and dark.
func icon(l Level) template.URL {
	colour := map[Level]string{OK: "2e9e5b", Warning: "d98e04", Critical: "d93a2f"}[l]
	return template.URL("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%23" +
		colour + "'/%3E%3C/svg%3E")
}

// What the template shows.
type (
	pageShown struct {
		Title, Version  string
		Level           string
		NotReady        string
		Refresh         int // seconds; 0 for not at all
		Icon            template.URL
		Style           template.CSS
		Now, Started    cell
		Uptime          cell
		Problems        []problemShown
		Tiles           []tile
		Sections        []sectionView
		OtherRefreshURL string
	}
	problemShown struct {
		Level, Text string
		Since       *cell
	}
	tile struct {
		Title, Help string
		Value       cell
		Per         string // what the value is for each of
		Notes       []note
		Spark       spark
	}
	note struct {
		Before string
		Value  cell
		After  string
	}
	sectionView struct {
		Title  string
		Wide   bool
		Tables []tableView
	}
	// A tableView is a table of any kind: its rows come in groups, which have a heading if there are several.
	tableView struct {
		Caption, Help string
		Same          bool // as the section's title, which is above it
		Columns       []column
		Groups        []group
		Stacked       bool // on a narrow screen each row becomes a list
		More          int
	}
	column struct {
		Name  string
		Class string
	}
	group struct {
		Name string
		Rows []rowView
	}
	rowView struct {
		Head  cell
		Help  string
		Cells []cell
	}
	cell struct {
		Text   string
		Exact  string // the number itself, if Text is one
		Time   string // RFC 3339, if Text is a moment
		Note   string
		Level  string
		Spark  *spark
		Column string
		Class  string
	}
	spark struct {
		sparkline
		Label string
	}
)

// html is the snapshot as a page.
func (s *snapshot) html(page *template.Template, style style, refresh bool) ([]byte, error) {
	p := pageShown{Title: s.title, Version: s.version, Level: s.level().String(), NotReady: s.notReady, Icon: icon(s.level()), Style: style.css,
		Now: s.cell(Time(s.now)), Started: s.cell(Time(s.started)), Uptime: s.cell(Duration(s.now.Sub(s.started).Round(1e9))),
		OtherRefreshURL: "status"}
	p.Now.Note = ""
	if refresh {
		p.Refresh, p.OtherRefreshURL = refreshSeconds, "status?refresh=off"
	}
	for _, pr := range s.problems {
		v := problemShown{Level: pr.Level.String(), Text: pr.Text}
		if !pr.Since.IsZero() {
			c := s.cell(Time(pr.Since))
			v.Since = &c
		}
		p.Problems = append(p.Problems, v)
	}
	for _, sec := range s.sections {
		for _, f := range sec.families {
			if f.Headline {
				p.Tiles = append(p.Tiles, s.tile(f))
			}
		}
		if v := s.section(sec); len(v.Tables) > 0 {
			p.Sections = append(p.Sections, v)
		}
	}
	var out bytes.Buffer
	if err := page.Execute(&out, p); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// cell shows one value.
func (s *snapshot) cell(v Value) cell {
	c := cell{Text: v.human()}
	switch v.kind {
	case nothing:
		c.Class = "none"
	case stated:
		c.Level = v.level.String()
	case dated:
		c.Time, c.Note, c.Class = moment(v.t), distance(v.t, s.now), "time"
	case counted, bytesLong:
		c.Exact, c.Class = strconv.FormatInt(v.n, 10), "num"
		if v.n == 0 {
			c.Class = "num zero"
		}
	case averaged, secondsLong, aboveSeconds, proportion:
		c.Exact, c.Class = strconv.FormatFloat(v.x, 'g', -1, 64), "num"
		if v.x == 0 {
			c.Class = "num zero"
		}
	}
	return c
}

// tile shows a headline: all series of a family together.
func (s *snapshot) tile(f familyShown) tile {
	t := tile{Title: f.Title, Help: f.Help, Spark: f.spark(f.Title, f.all)}
	values := f.values(f.all)
	last := s.cell(f.minute(f.all.hour[minutes-1]))
	add := func(before string, v cell, after string) { t.Notes = append(t.Notes, note{before, v, after}) }
	switch f.kind {
	case kindCounter:
		t.Value, t.Per = last, "per minute"
		add("", s.cell(values[0]), "since the start")
	case kindHistogram:
		t.Value, t.Per = s.cell(values[2]), "p99 in the last hour"
		add("p50", s.cell(values[1]), "")
	case kindRatio:
		t.Value, t.Per = s.cell(values[0]), "in the last hour"
		add("last minute", last, "")
	case kindGauge:
		t.Value, t.Per = s.cell(values[0]), "now"
		add("", s.cell(f.minute(least(f.all.hour))), "to")
		add("", s.cell(f.minute(peak(f.all.hour))), "in the last hour")
	}
	return t
}

// spark draws the history of a series, and says in words what is seen. Rates and times start at zero; gauges and ratios fill the height.
func (f *family) spark(name string, r reading) spark {
	low, high := least(r.hour), peak(r.hour)
	what := map[kind]string{kindCounter: "a minute", kindGauge: "at the end of each minute", kindRatio: "in each minute",
		kindHistogram: "p99 in each minute"}[f.kind]
	if math.IsNaN(low) {
		return spark{Label: name + ": no minute is complete yet, or nothing happened"}
	}
	out := spark{Label: fmt.Sprintf("%s %s, last hour: %s to %s, last %s", name, what, f.minute(low).human(), f.minute(high).human(),
		f.minute(r.hour[minutes-1]).human())}
	if f.kind == kindCounter || f.kind == kindHistogram {
		low = 0
	}
	if low == high && low != 0 {
		low, high = low-1, high+1 // what never changes runs through the middle
	}
	out.sparkline = draw(r.hour, low, high)
	return out
}

// columns are the headings of a family's table, by its kind. The second class hides what a narrow screen has no room for.
func (f *family) columns() []column {
	head, drawn := column{"", "head"}, column{"60 minutes", "spark"}
	num := func(names ...string) (all []column) {
		for _, n := range names {
			all = append(all, column{n, "num"})
		}
		return all
	}
	less := func(names ...string) (all []column) {
		for _, n := range names {
			all = append(all, column{n, "num less"})
		}
		return all
	}
	join := func(parts ...[]column) (all []column) {
		all = []column{head}
		for _, p := range parts {
			all = append(all, p...)
		}
		return append(all, drawn)
	}
	switch f.kind {
	case kindCounter:
		return join(num("total", "last minute"), less("peak"))
	case kindHistogram:
		return join(num("count", "p50", "p99"), less("peak p99"))
	case kindRatio:
		return join(num("last hour", "last minute"), less("lowest"))
	}
	return join(num("now"), less("lowest", "highest"))
}

// row shows one series.
func (s *snapshot) row(f familyShown, name, full string, r reading) rowView {
	var values []Value
	last, low, high := f.minute(r.hour[minutes-1]), f.minute(least(r.hour)), f.minute(peak(r.hour))
	switch f.kind {
	case kindCounter:
		values = append(f.values(r), last, high)
	case kindHistogram:
		values = append(f.values(r), high)
	case kindRatio:
		values = append(f.values(r), last, low)
	case kindGauge:
		values = append(f.values(r), low, high)
	}
	row := rowView{Head: cell{Text: name}}
	columns := f.columns()
	for i, v := range values {
		c := s.cell(v)
		c.Class = strings.TrimSpace(c.Class + strings.TrimPrefix(columns[i+1].Class, "num"))
		row.Cells = append(row.Cells, c)
	}
	drawn := f.spark(full, r)
	row.Cells = append(row.Cells, cell{Spark: &drawn, Class: "spark"})
	return row
}

// section makes tables of everything: first the rows with their names, then what is counted, then the tables of the server.
func (s *snapshot) section(sec sectionShown) sectionView {
	v := sectionView{Title: sec.title}
	var rows []rowView
	for _, r := range sec.rows {
		rows = append(rows, rowView{Head: cell{Text: r.Name}, Cells: []cell{s.cell(r.Value)}})
	}
	for _, f := range sec.families {
		if f.Unit == UnitTimestamp {
			for _, r := range f.series {
				name := strings.TrimSpace(f.Title + " " + label(strings.Join(r.labels, " ")))
				rows = append(rows, rowView{Head: cell{Text: name}, Help: f.Help, Cells: []cell{s.cell(f.values(r)[0])}})
			}
		}
	}
	if rows != nil {
		v.Tables = append(v.Tables, tableView{Groups: []group{{Rows: rows}}})
	}
	v.Tables = append(v.Tables, s.families(sec.families)...)
	for i := range v.Tables {
		v.Tables[i].Same = v.Tables[i].Caption == v.Title
	}
	for _, t := range sec.tables {
		v.Tables = append(v.Tables, s.table(t))
		v.Wide = v.Wide || len(t.Columns) > 4
	}
	return v
}

// families puts neighbours of one kind without labels into one table, and each one with labels into a table of its own.
func (s *snapshot) families(all []familyShown) (tables []tableView) {
	joined := kind("")
	for _, f := range all {
		switch {
		case f.Unit == UnitTimestamp:
		case len(f.Labels) == 0:
			row := s.row(f, f.Title, f.Title, f.series[0])
			row.Help = f.Help
			if joined != f.kind {
				tables = append(tables, tableView{Columns: f.columns(), Groups: []group{{}}})
			}
			rows := &tables[len(tables)-1].Groups[0].Rows
			*rows = append(*rows, row)
			joined = f.kind
		default:
			tables = append(tables, tableView{Caption: f.Title, Help: f.Help, Columns: f.columns(), Groups: s.groups(f)})
			joined = ""
		}
	}
	return tables
}

// groups are the series of a family with labels: a group for each value of the first of two.
func (s *snapshot) groups(f familyShown) (all []group) {
	for _, r := range f.series {
		last := len(r.labels) - 1
		name := ""
		if last > 0 {
			name = label(r.labels[0])
		}
		if len(all) == 0 || all[len(all)-1].Name != name {
			all = append(all, group{Name: name})
		}
		full := f.Title + " " + label(strings.Join(r.labels, " "))
		rows := &all[len(all)-1].Rows
		*rows = append(*rows, s.row(f, label(r.labels[last]), full, r))
	}
	return all
}

// table shows a table of the server. Its columns are aligned as their values are.
func (s *snapshot) table(t Table) tableView {
	v := tableView{Caption: t.Title, Stacked: len(t.Columns) > 2, More: t.more, Groups: []group{{}}}
	for _, name := range t.Columns {
		v.Columns = append(v.Columns, column{Name: name})
	}
	if len(t.Columns) == 0 {
		return v
	}
	for _, row := range t.Rows {
		r := rowView{Head: s.cell(row[0])}
		for i, value := range row[1:] {
			c := s.cell(value)
			c.Column = t.Columns[i+1]
			r.Cells = append(r.Cells, c)
			if c.Exact != "" {
				v.Columns[i+1].Class = "num"
			}
		}
		v.Groups[0].Rows = append(v.Groups[0].Rows, r)
	}
	for _, r := range v.Groups[0].Rows {
		for i := range r.Cells {
			if r.Cells[i].Class == "none" {
				r.Cells[i].Class = strings.TrimSpace("none " + v.Columns[i+1].Class)
			}
		}
	}
	return v
}
