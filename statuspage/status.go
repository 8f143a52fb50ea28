package statuspage

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A Level says how bad something is.
type Level int

// The levels; a higher one is worse.
const (
	OK Level = iota
	Warning
	Critical
)

func (l Level) String() string {
	switch {
	case l <= OK:
		return "ok"
	case l == Warning:
		return "warning"
	}
	return "critical"
}

// A Status is what a server says of itself at one moment, besides what it counts. Its texts may come from anywhere.
type Status struct {
	NotReady string // why no request can be answered now; empty if it can
	Problems []Problem
	Sections []Section // those with the title of a section of [Metrics] are shown there, the others after them
}

// A Problem is what somebody should look at.
type Problem struct {
	Level Level // Warning or Critical
	Text  string
	Since time.Time // zero if that is not known
}

// A Section is a part of the page.
type Section struct {
	Title  string
	Rows   []Row
	Tables []Table
}

// A Row is one value with its name.
type Row struct {
	Name  string
	Value Value
}

// A Table is a small table. A row that is shorter than Columns ends in nothing, what a longer one has more is left out. The first cell of a row
// names it.
type Table struct {
	Title   string
	Columns []string
	Rows    [][]Value

	more int // rows that were left out
}

// What is shown of a Status; there is no more of it in JSON either. Of the rows of a table that are left out the number is told.
const (
	maxProblems = 16
	maxTables   = 8 // of a section
	maxRows     = 64
	maxColumns  = 8
)

type valueKind int

const (
	nothing valueKind = iota
	textual
	stated
	counted
	averaged
	bytesLong
	secondsLong
	aboveSeconds
	proportion
	dated
)

// A Value is something to show, with its unit. The zero value is nothing, and is shown as a dash. Values are made by [Text], [State],
// [Count], [Bytes], [Duration], [Ratio] and [Time].
type Value struct {
	kind  valueKind
	text  string
	level Level
	n     int64
	x     float64
	t     time.Time
}

// Text shows s, which may be anything.
func Text(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{kind: textual, text: s}
}

// State shows a word about how something is, marked by how bad that is.
func State(l Level, word string) Value { return Value{kind: stated, text: word, level: l} }

// Count shows a number of things.
func Count(n int64) Value { return Value{kind: counted, n: n} }

// Bytes shows a size.
func Bytes(n int64) Value { return Value{kind: bytesLong, n: n} }

// Duration shows how long something is.
func Duration(d time.Duration) Value { return Value{kind: secondsLong, x: d.Seconds()} }

// Ratio shows x, of 0 to 1, in per cent. What is no number is shown as nothing.
func Ratio(x float64) Value { return fraction(proportion, x) }

// Time shows a moment; the zero time is nothing.
func Time(t time.Time) Value {
	if t.IsZero() {
		return Value{}
	}
	return Value{kind: dated, t: t}
}

// fraction is a value that need not be whole; nothing if x is no number.
func fraction(k valueKind, x float64) Value {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return Value{}
	}
	return Value{kind: k, x: x}
}

// unit is the name of the value's unit in JSON.
func (v Value) unit() string {
	switch v.kind {
	case bytesLong:
		return "bytes"
	case secondsLong, aboveSeconds:
		return "seconds"
	case proportion:
		return "ratio"
	}
	return ""
}

// json is the value itself for JSON: a text, a number, or nil.
func (v Value) json() any {
	switch v.kind {
	case textual, stated:
		return v.text
	case counted, bytesLong:
		return v.n
	case averaged, secondsLong, aboveSeconds, proportion:
		return v.x
	case dated:
		return moment(v.t)
	}
	return nil
}

// human is the value as people read it.
func (v Value) human() string {
	switch v.kind {
	case textual, stated:
		return v.text
	case counted:
		return count(v.n)
	case averaged:
		return decimal(v.x)
	case bytesLong:
		return size(v.n)
	case secondsLong:
		return span(v.x)
	case aboveSeconds:
		return "> " + span(v.x)
	case proportion:
		return share(v.x)
	case dated:
		return moment(v.t)
	}
	return "–"
}

// cleaned is the status as it may be shown.
func (s Status) cleaned() Status {
	c := Status{NotReady: clean(s.NotReady, maxText)}
	for _, p := range s.Problems {
		c.Problems = append(c.Problems, Problem{min(max(p.Level, Warning), Critical), clean(p.Text, maxText), p.Since})
	}
	slices.SortStableFunc(c.Problems, func(a, b Problem) int { return int(b.Level - a.Level) })
	if more := len(c.Problems) - maxProblems; more > 0 {
		c.Problems = append(c.Problems[:maxProblems], Problem{Level: Warning, Text: fmt.Sprintf("and %d more problems", more)})
	}
	for _, sec := range s.Sections[:min(len(s.Sections), maxSections)] {
		c.Sections = append(c.Sections, sec.cleaned())
	}
	return c
}

func (s Section) cleaned() Section {
	c := Section{Title: clean(s.Title, maxTitle)}
	for _, r := range s.Rows[:min(len(s.Rows), maxRows)] {
		c.Rows = append(c.Rows, Row{clean(r.Name, maxTitle), r.Value.cleaned()})
	}
	for _, t := range s.Tables[:min(len(s.Tables), maxTables)] {
		n := Table{Title: clean(t.Title, maxTitle)}
		for _, name := range t.Columns[:min(len(t.Columns), maxColumns)] {
			n.Columns = append(n.Columns, clean(name, maxTitle))
		}
		n.more = max(0, len(t.Rows)-maxRows)
		for _, row := range t.Rows[:len(t.Rows)-n.more] {
			cells := make([]Value, len(n.Columns)) // what is missing is nothing
			for i := range min(len(row), len(cells)) {
				cells[i] = row[i].cleaned()
			}
			n.Rows = append(n.Rows, cells)
		}
		c.Tables = append(c.Tables, n)
	}
	return c
}

func (v Value) cleaned() Value {
	v.text = clean(v.text, maxText)
	return v
}
