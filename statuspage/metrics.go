package statuspage

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Unit is what the numbers of a metric are; it ends the metric's name.
type Unit string

// The units.
const (
	UnitCount     Unit = ""
	UnitBytes     Unit = "bytes"
	UnitSeconds   Unit = "seconds"           // whole ones, but for histograms
	UnitTimestamp Unit = "timestamp_seconds" // since 1970; gauges only; 0 is never

	unitRatio Unit = "ratio"
)

// A Family describes one metric. It has one series for each combination of the values of its labels.
type Family struct {
	Name     string // [a-z0-9_], without what all names begin with and without the unit; required
	Title    string // for the page, "Requests"; required
	Help     string // one sentence; required
	Unit     Unit
	Labels   []Label         // up to 2; none for one series
	Headline bool            // show it first and large, all series added up: a histogram as its 99th percentile, a counter as its rate
	Bounds   []time.Duration // of a histogram's buckets, growing; empty means [DefaultBounds]
}

// A Label tells series of a family apart. There is no other value than these.
type Label struct {
	Name   string   // [a-z0-9_]
	Values []string // up to 64, as they are to be shown; "_" is shown as a space on the page
}

// Limits of what can be declared. A counter takes about 600 bytes, a histogram of 17 buckets about 10 KB.
const (
	maxLabels   = 2
	maxValues   = 64
	maxBounds   = 32
	maxSeries   = 1024 // of a collector
	maxSections = 32
)

// DefaultBounds are the upper bounds of a histogram's buckets from a tenth of a millisecond, a look-up in memory, to the 15 seconds
// after which nobody waits any more.
func DefaultBounds() []time.Duration {
	const us, ms, s = time.Microsecond, time.Millisecond, time.Second
	return []time.Duration{100 * us, 250 * us, 500 * us, ms, 2500 * us, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms,
		s, 2500 * ms, 5 * s, 10 * s, 15 * s}
}

// Metrics are what a server counts, in the order in which it is shown. The zero value is empty. Declare everything, then give it to [New], which
// tells of all mistakes at once; what is declared afterwards is shown nowhere. Declaring is for one goroutine, counting for any.
type Metrics struct {
	sections []*section
	closed   bool
	problems []error
	mu       sync.Mutex   // guards problems and closed, which With looks at from any goroutine
	strays   atomic.Int64 // look-ups of labels that are not declared
}

type section struct {
	title    string
	families []*family
}

type kind string

const (
	kindCounter   kind = "counter"
	kindGauge     kind = "gauge"
	kindHistogram kind = "histogram"
	kindRatio     kind = "ratio"
)

// A family is a declared one. full is its name with the unit.
type family struct {
	Family
	kind   kind
	full   string
	labels [][]string // of each series
	series []sampled
}

// Labelled holds the series of a family: S is [Counter], [Gauge] or [Histogram].
type Labelled[S any] struct {
	m      *Metrics
	f      *family
	series []*S
	stray  *S
}

// With is the series with these values of the labels, in the order of their declaration. Ask once and keep it; asking is safe for any goroutines,
// and takes no longer than comparing the values. A value that was not declared is a mistake in the server: before [New] it makes New fail;
// later the series counts and is shown nowhere, and avdb_<server>_undeclared_total tells of it.
func (l *Labelled[S]) With(values ...string) *S {
	i, known := 0, len(values) == len(l.f.Labels)
	for k := 0; known && k < len(values); k++ {
		at := slices.Index(l.f.Labels[k].Values, values[k])
		i, known = i*len(l.f.Labels[k].Values)+at, at >= 0
	}
	if known && i < len(l.series) {
		return l.series[i]
	}
	l.m.strays.Add(1)
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if !l.m.closed && l.series != nil { // without series the declaration itself was wrong
		var asked []byte // copied, so that asking does not allocate
		for _, v := range values {
			asked = strconv.AppendQuote(append(asked, ' '), v)
		}
		l.m.problems = append(l.m.problems, fmt.Errorf("metric %q: no series has the labels [%s ]: declare them", l.f.Name, asked))
	}
	return l.stray
}

// Section begins a section of the page; what is declared next belongs to it, and so do the rows and tables of a [Section] with this title.
func (m *Metrics) Section(title string) {
	m.sections = append(m.sections, &section{title: title})
}

// Counters declares counters: of nothing in particular, bytes or seconds.
func (m *Metrics) Counters(f Family) *Labelled[Counter] {
	return declare(m, f, kindCounter, func(Family) *Counter { return &Counter{} })
}

// Gauges declares gauges.
func (m *Metrics) Gauges(f Family) *Labelled[Gauge] {
	return declare(m, f, kindGauge, func(Family) *Gauge { return &Gauge{} })
}

// Histograms declares histograms of how long things take. Their unit is always [UnitSeconds].
func (m *Metrics) Histograms(f Family) *Labelled[Histogram] {
	f.Unit, f.Bounds = UnitSeconds, slices.Clone(f.Bounds)
	if len(f.Bounds) == 0 {
		f.Bounds = DefaultBounds()
	}
	return declare(m, f, kindHistogram, func(f Family) *Histogram {
		return &Histogram{bounds: f.Bounds, counts: make([]atomic.Int64, len(f.Bounds)+1)}
	})
}

// Ratio declares how much of the whole the part is, of what was counted in the last hour. Both are counters of these Metrics, and whatever
// is counted in part is counted in whole as well, before or after. There are no labels and no unit.
func (m *Metrics) Ratio(f Family, part, whole []*Counter) {
	f.Unit = unitRatio
	declare(m, f, kindRatio, func(Family) *ratio { return &ratio{part: slices.Clone(part), whole: slices.Clone(whole)} })
}

// declare makes the series of f. What is wrong with it is noted for [New]; the series can be used anyway.
func declare[S any, P interface {
	*S
	sampled
}](m *Metrics, f Family, k kind, series func(Family) *S) *Labelled[S] {
	f.Labels = slices.Clone(f.Labels)
	for i := range f.Labels {
		f.Labels[i].Values = slices.Clone(f.Labels[i].Values)
	}
	d := &family{Family: f, kind: k, full: fullName(f, k)}
	l := &Labelled[S]{m: m, f: d, stray: series(f)}
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		m.strays.Add(1) // nobody looks at problems any more
		return l
	}
	if err := d.check(); err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.problems = append(m.problems, fmt.Errorf("metric %q: %w", f.Name, err))
		return l
	}
	d.labels = combinations(f.Labels)
	for range d.labels {
		s := series(f)
		l.series, d.series = append(l.series, s), append(d.series, P(s))
	}
	if len(m.sections) == 0 {
		m.Section("Metrics")
	}
	last := m.sections[len(m.sections)-1]
	last.families = append(last.families, d)
	return l
}

// combinations are all values of the first label with all of the second one.
func combinations(labels []Label) [][]string {
	all := [][]string{{}}
	for _, l := range labels {
		var longer [][]string
		for _, prefix := range all {
			for _, v := range l.Values {
				longer = append(longer, append(slices.Clone(prefix), v))
			}
		}
		all = longer
	}
	return all
}

// fullName is the name with the unit, as Prometheus wants it.
func fullName(f Family, k kind) string {
	name := f.Name
	if f.Unit != UnitCount {
		name += "_" + string(f.Unit)
	}
	if k == kindCounter {
		name += "_total"
	}
	return name
}

// check tells what is wrong with one family by itself.
func (f *family) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !isName(f.Name) {
		fail("the name is not made of a to z, 0 to 9 and _, or is longer than 64")
	}
	for _, suffix := range []string{"_total", "_bytes", "_seconds", "_ratio", "_bucket", "_sum", "_count", "_info"} {
		if strings.HasSuffix(f.Name, suffix) {
			fail("the name ends in %s: leave it out, the unit makes the end", suffix)
		}
	}
	if f.Title == "" || f.Title != clean(f.Title, maxTitle) {
		fail("the title is empty, longer than %d or cannot be shown", maxTitle)
	}
	if f.Help == "" || f.Help != clean(f.Help, maxText) {
		fail("the help is empty, longer than %d or cannot be shown", maxText)
	}
	switch f.Unit {
	case UnitCount, UnitBytes, UnitSeconds:
	case UnitTimestamp:
		if f.kind != kindGauge {
			fail("only gauges are timestamps")
		}
	case unitRatio:
		if f.kind != kindRatio || len(f.Labels) > 0 {
			fail("a ratio has no labels, and is declared with Ratio")
		}
	default:
		fail("there is no unit %q", f.Unit)
	}
	for i, b := range f.Bounds {
		if f.kind != kindHistogram || len(f.Bounds) > maxBounds || b <= 0 || i > 0 && b <= f.Bounds[i-1] {
			fail("bounds are for histograms, at most %d, positive and growing", maxBounds)
			break
		}
	}
	errs = append(errs, checkLabels(f.Labels)...)
	return errors.Join(errs...)
}

func checkLabels(labels []Label) (errs []error) {
	if len(labels) > maxLabels {
		return []error{fmt.Errorf("%d labels, at most %d are possible", len(labels), maxLabels)}
	}
	for i, l := range labels {
		if !isName(l.Name) || l.Name == "le" || l.Name == "quantile" || i > 0 && l.Name == labels[0].Name {
			errs = append(errs, fmt.Errorf("label %q: the name is not made of a to z, 0 to 9 and _, is there twice, or belongs to Prometheus", l.Name))
		}
		if len(l.Values) == 0 || len(l.Values) > maxValues {
			errs = append(errs, fmt.Errorf("label %q: %d values, want 1 to %d", l.Name, len(l.Values), maxValues))
		}
		for k, v := range l.Values {
			if v == "" || v != clean(v, maxText) || slices.Contains(l.Values[:k], v) {
				errs = append(errs, fmt.Errorf("label %q: value %q is empty, there twice, longer than %d or cannot be shown", l.Name, v, maxText))
			}
		}
	}
	return errs
}

func isName(s string) bool {
	return len(s) <= 64 && regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`).MatchString(s)
}

// close ends the declaring, and tells of everything that is wrong with it.
func (m *Metrics) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("the metrics belong to another collector: declare them for each anew")
	}
	m.closed = true
	errs := m.problems
	titles, names, series := map[string]bool{}, map[string]bool{}, 0
	for _, n := range builtIn() {
		names[n] = true
	}
	if len(m.sections) > maxSections {
		errs = append(errs, fmt.Errorf("%d sections, at most %d are possible", len(m.sections), maxSections))
	}
	for _, s := range m.sections {
		if s.title == "" || titles[s.title] || s.title != clean(s.title, maxTitle) {
			errs = append(errs, fmt.Errorf("section %q: the title is empty, there twice, longer than %d or cannot be shown", s.title, maxTitle))
		}
		titles[s.title] = true
		for _, f := range s.families {
			series += len(f.series)
			for _, n := range f.exposed() {
				if names[n] {
					errs = append(errs, fmt.Errorf("metric %q: the name %s is there twice", f.Name, n))
				}
				names[n] = true
			}
		}
	}
	if series > maxSeries {
		errs = append(errs, fmt.Errorf("%d series, at most %d are possible: use fewer labels", series, maxSeries))
	}
	return errors.Join(errs...)
}

// exposed are the names that a family takes in /metrics.
func (f *family) exposed() []string {
	if f.kind == kindHistogram {
		return []string{f.full, f.full + "_bucket", f.full + "_sum", f.full + "_count"}
	}
	return []string{f.full}
}

// builtIn are the names of the metrics that each collector has.
func builtIn() []string {
	return []string{"info", "start_timestamp_seconds", "ready", "problems", "undeclared_total"}
}
