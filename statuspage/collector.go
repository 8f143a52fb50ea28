package statuspage

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a [Collector] is made of.
type Config struct {
	Title   string           // of the page, "KSN proxy"; required
	Server  string           // for the names of metrics, "ksn_proxy"; required
	Version string           // of the program
	Metrics *Metrics         // nil for none
	Status  func() Status    // asked once for each look and each minute, one call at a time, and must not wait; it may set gauges; nil for none
	Started time.Time        // of the server; zero means now
	Now     func() time.Time // nil means time.Now
}

// A Collector holds the numbers of one server, and their histories. Its methods may be called by any goroutines at once.
type Collector struct {
	c      Config
	m      *Metrics
	asking chan struct{} // holds one token, for whoever asks Status

	mu     sync.Mutex // guards the histories, and minute
	minute int64      // since 1970, the last one whose end was noted

	runtime *prometheus.Registry
	descs   map[*family]*prometheus.Desc
	page    *template.Template
	style   style
}

// patience is how long a look waits for the one before it, which waits for Status.
const patience = 5 * time.Second

// errBusy is told when Status keeps everybody waiting.
var errBusy = errors.New("the server has been asked for its state and does not answer")

// New begins to collect. It closes c.Metrics, which must not be given to another collector, and its error tells of everything that was declared
// wrongly.
func New(c Config) (*Collector, error) {
	var errs []error
	if c.Title == "" {
		errs = append(errs, errors.New("the title is missing"))
	}
	if !isName(c.Server) {
		errs = append(errs, fmt.Errorf("the server is named %q: want a to z, 0 to 9 and _, as metrics have", c.Server))
	}
	if c.Metrics == nil {
		c.Metrics = &Metrics{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Started.IsZero() {
		c.Started = c.Now()
	}
	if c.Status == nil {
		c.Status = func() Status { return Status{} }
	}
	errs = append(errs, c.Metrics.close())
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("status page: %w", err)
	}
	c.Title, c.Version = clean(c.Title, maxTitle), clean(c.Version, maxTitle)
	k := &Collector{c: c, m: c.Metrics, asking: make(chan struct{}, 1), runtime: newRuntime(), page: newPage(), style: newStyle()}
	k.descs = descs("avdb_"+c.Server+"_", k.m)
	k.minute = minuteOf(c.Now())
	for f := range k.families() {
		for _, s := range f.series {
			s.restart()
		}
	}
	return k, nil
}

func (c *Collector) families() func(yield func(*family) bool) {
	return func(yield func(*family) bool) {
		for _, s := range c.m.sections {
			for _, f := range s.families {
				if !yield(f) {
					return
				}
			}
		}
	}
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// Run notes the end of each minute until ctx is done, and returns then. A server that shows itself needs one of it.
func (c *Collector) Run(ctx context.Context) {
	for {
		now := c.c.Now()
		next := time.NewTimer(now.Truncate(time.Minute).Add(time.Minute).Sub(now))
		select {
		case <-ctx.Done():
			next.Stop()
			return
		case <-next.C:
			c.sample(ctx, c.c.Now())
		}
	}
}

// Sample notes, for the histories, what all series come to at the end of the minute before now; within a minute all calls but the first do
// nothing. It is for servers that have a clock of their own and do not call [Collector.Run].
func (c *Collector) Sample(now time.Time) { c.sample(context.Background(), now) }

func (c *Collector) sample(ctx context.Context, now time.Time) {
	c.mu.Lock()
	due := minuteOf(now) != c.minute
	c.mu.Unlock()
	if !due {
		return
	}
	// Status may set gauges. If it does not answer, they are noted as they are.
	if _, err := c.ask(ctx); err != nil && ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := minuteOf(now) - c.minute
	if passed == 0 {
		return // somebody was faster
	}
	c.minute += passed
	for f := range c.families() {
		for _, s := range f.series {
			if passed < 0 || passed > minutes {
				s.restart()
			} else {
				s.push(int(passed) - 1)
			}
		}
	}
}

// ask calls Status when nobody else does.
func (c *Collector) ask(ctx context.Context) (Status, error) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case c.asking <- struct{}{}:
	case <-ctx.Done():
		return Status{}, ctx.Err()
	case <-limit.C:
		return Status{}, errBusy
	}
	defer func() { <-c.asking }()
	return c.c.Status().cleaned(), nil
}

// A snapshot is one look at everything. Page, JSON and metrics are made of it and of nothing else.
type snapshot struct {
	title, server, version string
	started, now           time.Time
	undeclared             int64
	notReady               string
	problems               []Problem
	sections               []sectionShown
}

type sectionShown struct {
	title    string
	families []familyShown
	rows     []Row
	tables   []Table
}

type familyShown struct {
	*family
	series []reading
	all    reading // what the series add up to
}

// look asks the server and reads all series.
func (c *Collector) look(ctx context.Context) (*snapshot, error) {
	status, err := c.ask(ctx)
	if err != nil {
		return nil, err
	}
	s := &snapshot{title: c.c.Title, server: c.c.Server, version: c.c.Version, started: c.c.Started, now: c.c.Now(),
		undeclared: c.m.strays.Load(), notReady: status.NotReady, problems: status.Problems}
	if s.undeclared > 0 {
		s.problems = append(s.problems, Problem{Level: Warning,
			Text: "labels that are not declared were asked for " + count(s.undeclared) + " times: a mistake in this server"})
	}
	places := map[string]int{}
	c.mu.Lock()
	for _, sec := range c.m.sections {
		shown := sectionShown{title: sec.title}
		for _, f := range sec.families {
			shown.families = append(shown.families, f.look())
		}
		places[sec.title] = len(s.sections)
		s.sections = append(s.sections, shown)
	}
	c.mu.Unlock()
	for _, sec := range status.Sections {
		at, known := places[sec.Title]
		if !known {
			at = len(s.sections)
			places[sec.Title] = at
			s.sections = append(s.sections, sectionShown{title: sec.Title})
		}
		to := &s.sections[at]
		to.rows = append(to.rows, sec.Rows[:min(len(sec.Rows), maxRows-len(to.rows))]...)
		to.tables = append(to.tables, sec.Tables[:min(len(sec.Tables), maxTables-len(to.tables))]...)
	}
	return s, nil
}

func (f *family) look() familyShown {
	shown := familyShown{family: f}
	for i, s := range f.series {
		r := s.read()
		r.labels = f.labels[i]
		shown.series = append(shown.series, r)
	}
	shown.all = merge(f, shown.series)
	return shown
}

// level is how bad things are: the worst problem, and critical if nothing can be answered.
func (s *snapshot) level() Level {
	worst := OK
	if s.notReady != "" {
		worst = Critical
	}
	for _, p := range s.problems {
		worst = max(worst, p.Level)
	}
	return worst
}

// values are a reading's numbers as they are shown: of a histogram three (how many, half of them within, 99 of 100 within), otherwise one.
func (f *family) values(r reading) []Value {
	switch {
	case f.kind == kindHistogram:
		return []Value{Count(sum(r.buckets)), f.percentile(r, 0.5), f.percentile(r, 0.99)}
	case f.kind == kindRatio:
		return []Value{Ratio(r.ratio)}
	case f.Unit == UnitTimestamp && r.value == 0:
		return []Value{{}}
	case f.Unit == UnitTimestamp:
		return []Value{Time(time.Unix(r.value, 0))}
	}
	return []Value{f.number(float64(r.value), r.value)}
}

// number is x in the unit of f; n is x if that is whole.
func (f *family) number(x float64, n int64) Value {
	switch {
	case math.IsNaN(x):
		return Value{}
	case f.kind == kindHistogram || f.Unit == UnitSeconds:
		return Value{kind: secondsLong, x: x}
	case f.Unit == unitRatio:
		return Ratio(x)
	case f.Unit == UnitBytes:
		return Bytes(n)
	case x != float64(n):
		return Value{kind: averaged, x: x}
	}
	return Count(n)
}

// minute is a number of a history in the unit of f.
func (f *family) minute(x float64) Value {
	if math.IsNaN(x) {
		return Value{}
	}
	return f.number(x, int64(math.Round(x)))
}

func (f *family) percentile(r reading, q float64) Value {
	x, above := percentile(f.Bounds, r.lately, q)
	if above {
		return fraction(aboveSeconds, x)
	}
	return fraction(secondsLong, x)
}
