package statuspage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// config is of a collector that has nothing wrong but its metrics.
func config(m *Metrics) Config {
	return Config{Title: "T", Server: "t", Metrics: m, Now: func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }}
}

// All mistakes are told at once, each with the metric that has it.
func TestNewTellsOfAllMistakes(t *testing.T) {
	good := Family{Name: "good", Title: "Good", Help: "Good."}
	many := make([]string, maxValues+1)
	for i := range many {
		many[i] = fmt.Sprint("v", i)
	}
	with := func(change func(*Family)) Family {
		f := good
		change(&f)
		return f
	}
	for name, c := range map[string]struct {
		f    Family
		kind kind
		want string
	}{
		"no name":             {with(func(f *Family) { f.Name = "" }), kindCounter, "the name is not made of"},
		"a long name":         {with(func(f *Family) { f.Name = strings.Repeat("n", 65) }), kindCounter, "longer than 64"},
		"capitals":            {with(func(f *Family) { f.Name = "Good" }), kindCounter, "the name is not made of"},
		"a new line":          {with(func(f *Family) { f.Name = "good\n" }), kindCounter, "the name is not made of"},
		"a suffix":            {with(func(f *Family) { f.Name = "good_total" }), kindCounter, "ends in _total"},
		"no title":            {with(func(f *Family) { f.Title = "" }), kindGauge, "the title is empty"},
		"an invisible title":  {with(func(f *Family) { f.Title = "a\u202eb" }), kindGauge, "cannot be shown"},
		"no help":             {with(func(f *Family) { f.Help = "" }), kindGauge, "the help is empty"},
		"a long help":         {with(func(f *Family) { f.Help = strings.Repeat("h", 201) }), kindGauge, "longer than 200"},
		"a strange unit":      {with(func(f *Family) { f.Unit = "furlongs" }), kindGauge, `there is no unit "furlongs"`},
		"a counted time":      {with(func(f *Family) { f.Unit = UnitTimestamp }), kindCounter, "only gauges are timestamps"},
		"a gauge as ratio":    {with(func(f *Family) { f.Unit = unitRatio }), kindGauge, "declared with Ratio"},
		"bounds of a counter": {with(func(f *Family) { f.Bounds = DefaultBounds() }), kindCounter, "bounds are for histograms"},
		"falling bounds":      {with(func(f *Family) { f.Bounds = []time.Duration{2, 1} }), kindHistogram, "positive and growing"},
		"a bound of 0":        {with(func(f *Family) { f.Bounds = []time.Duration{0, 1} }), kindHistogram, "positive and growing"},
		"many bounds":         {with(func(f *Family) { f.Bounds = slices.Repeat([]time.Duration{1}, 33) }), kindHistogram, "at most 32"},
		"three labels": {with(func(f *Family) { f.Labels = []Label{{"a", []string{"1"}}, {"b", []string{"1"}}, {"c", []string{"1"}}} }), kindCounter,
			"3 labels, at most 2"},
		"a label twice":     {with(func(f *Family) { f.Labels = []Label{{"a", []string{"1"}}, {"a", []string{"1"}}} }), kindCounter, "is there twice"},
		"le":                {with(func(f *Family) { f.Labels = []Label{{"le", []string{"1"}}} }), kindHistogram, "belongs to Prometheus"},
		"no values":         {with(func(f *Family) { f.Labels = []Label{{"a", nil}} }), kindCounter, "0 values, want 1 to 64"},
		"many values":       {with(func(f *Family) { f.Labels = []Label{{"a", many}} }), kindCounter, "65 values"},
		"a value twice":     {with(func(f *Family) { f.Labels = []Label{{"a", []string{"1", "1"}}} }), kindCounter, `value "1" is empty, there twice`},
		"an empty value":    {with(func(f *Family) { f.Labels = []Label{{"a", []string{""}}} }), kindCounter, `value "" is empty`},
		"an invisible one":  {with(func(f *Family) { f.Labels = []Label{{"a", []string{"x\u200fy"}}} }), kindCounter, "cannot be shown"},
		"a name built in":   {with(func(f *Family) { f.Name = "ready" }), kindGauge, "the name ready is there twice"},
		"a histogram's own": {with(func(f *Family) { f.Name = "other_seconds_bucket" }), kindGauge, "ends in _bucket"},
		"twice":             {with(func(f *Family) { f.Name = "other" }), kindHistogram, "the name other_seconds is there twice"},
	} {
		m := &Metrics{}
		m.Histograms(Family{Name: "other", Title: "O", Help: "O."})
		switch c.kind {
		case kindCounter:
			m.Counters(c.f).With("1").Inc() // still usable
		case kindGauge:
			m.Gauges(c.f)
		case kindHistogram:
			m.Histograms(c.f)
		}
		k := config(m)
		k.Title = "" // a second mistake
		_, err := New(k)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "the title is missing") ||
			!strings.Contains(err.Error(), fmt.Sprintf("metric %q", c.f.Name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	one := Family{Name: "x", Title: "X", Help: "X."}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"a server's name":      {func(c *Config) { c.Server = "KSN proxy" }, `the server is named "KSN proxy"`},
		"a section twice":      {func(c *Config) { c.Metrics.Section("A"); c.Metrics.Section("A") }, `section "A"`},
		"a section of nothing": {func(c *Config) { c.Metrics.Section("") }, `section ""`},
		"many sections": {func(c *Config) {
			for i := range 33 {
				c.Metrics.Section(fmt.Sprint(i))
			}
		}, "33 sections"},
		"many series": {func(c *Config) {
			f := one
			for _, l := range []string{"a", "b"} {
				f.Labels = append(f.Labels, Label{Name: l})
				for i := range 33 {
					v := &f.Labels[len(f.Labels)-1].Values
					*v = append(*v, fmt.Sprint(i))
				}
			}
			c.Metrics.Gauges(f)
		}, "1089 series"},
		"a label that is not declared": {func(c *Config) {
			f := one
			f.Labels = []Label{{"a", []string{"1"}}}
			c.Metrics.Gauges(f).With("2").Set(1)
		}, `no series has the labels [ "2" ]`},
		"a label too many": {func(c *Config) { c.Metrics.Gauges(one).With("2").Set(1) }, `no series has the labels [ "2" ]`},
		"a label too few": {func(c *Config) {
			f := one
			f.Labels = []Label{{"a", []string{"1"}}}
			c.Metrics.Gauges(f).With()
		}, `no series has the labels [ ]`},
		"metrics of another": {func(c *Config) {
			if _, err := New(*c); err != nil {
				t.Fatal(err)
			}
		}, "belong to another collector"},
	} {
		k := config(&Metrics{})
		c.change(&k)
		if _, err := New(k); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{Title: "T", Server: "t"}); err != nil {
		t.Error("a server that has nothing to show yet: ", err)
	}
}

// Requests cannot make series: what was not declared counts in one place that nobody sees, and the page says that it happens.
func TestUndeclaredLabelsMakeNoSeries(t *testing.T) {
	m := &Metrics{}
	l := m.Counters(Family{Name: "x", Title: "X", Help: "X.", Labels: []Label{{"a", []string{"1", "2"}}}})
	c, err := New(config(m))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for k := range 1000 {
				l.With(fmt.Sprint("attack ", i, k)).Inc()
				l.With("1").Inc()
			}
		})
	}
	wg.Wait()
	s, err := c.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := s.sections[0].families[0].series; len(r) != 2 || r[0].value != 4000 || r[1].value != 0 {
		t.Errorf("%+v", r)
	}
	if s.undeclared != 4000 || s.level() != Warning || !strings.Contains(s.problems[0].Text, "4,000 times: a mistake in this server") {
		t.Errorf("%d, %v, %+v", s.undeclared, s.level(), s.problems)
	}
	m.Gauges(Family{Name: "late", Title: "L", Help: "L."}).With().Set(1)
	if s, err = c.look(t.Context()); err != nil || s.undeclared < 4001 || len(s.sections[0].families) != 1 {
		t.Errorf("declared too late: %v, %d, %d", err, s.undeclared, len(s.sections[0].families))
	}
}

// What a caller does with its slices afterwards changes nothing.
func TestDeclarationsAreCopied(t *testing.T) {
	m := &Metrics{}
	values, bounds := []string{"a", "b"}, []time.Duration{1, 2}
	h := m.Histograms(Family{Name: "x", Title: "X", Help: "X.", Labels: []Label{{"l", values}}, Bounds: bounds})
	values[0], bounds[0] = "z", 0
	h.With("a").Observe(2)
	if _, err := New(config(m)); err != nil {
		t.Error(err)
	}
	if got := h.With("a").load(); !slices.Equal(got, []int64{0, 1, 0}) {
		t.Error(got)
	}
}

func TestErrorsAreOneTree(t *testing.T) {
	_, err := New(Config{})
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 2 {
		t.Errorf("%v", err)
	}
}
