package statuspage

import (
	"math"
	"sync/atomic"
	"time"
)

// A Counter counts what happened. Its methods may be called by any goroutines at once, and do nothing on a nil Counter. Counters
// come from [Metrics.Counters].
type Counter struct {
	n    atomic.Int64
	ends ring[int64] // guarded by the collector
}

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Add adds n, which is not negative: counters never fall. A negative n adds nothing.
func (c *Counter) Add(n int64) {
	if c != nil && n > 0 {
		c.n.Add(n)
	}
}

// Value is what was counted since the start.
func (c *Counter) Value() int64 {
	if c == nil {
		return 0
	}
	return c.n.Load()
}

// A Gauge is a number that rises and falls. Its methods may be called by any goroutines at once, and do nothing on a nil Gauge. Gauges
// come from [Metrics.Gauges].
type Gauge struct {
	n    atomic.Int64
	ends ring[int64]
}

// Set makes the gauge n.
func (g *Gauge) Set(n int64) {
	if g != nil {
		g.n.Store(n)
	}
}

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) {
	if g != nil {
		g.n.Add(n)
	}
}

// SetTime makes a gauge of [UnitTimestamp] the moment t in whole seconds; the zero time is 0, which is shown as never.
func (g *Gauge) SetTime(t time.Time) {
	if t.IsZero() {
		g.Set(0)
		return
	}
	g.Set(t.Unix())
}

// A Histogram counts how long things took. Its methods may be called by any goroutines at once, and do nothing on a nil Histogram.
// Histograms come from [Metrics.Histograms].
type Histogram struct {
	bounds []time.Duration // upper ones, inclusive, growing
	counts []atomic.Int64  // of what lies between two bounds; one more for what is above all
	sum    atomic.Int64    // nanoseconds; starts again below zero after 292 years of waiting, all requests together
	ends   ring[[]int64]
}

// Observe counts one thing that took d. A negative d counts as 0.
func (h *Histogram) Observe(d time.Duration) {
	if h == nil {
		return
	}
	d = max(d, 0)
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// load is what was counted since the start: for each bucket what is in it alone.
func (h *Histogram) load() []int64 {
	now := make([]int64, len(h.counts))
	for i := range h.counts {
		now[i] = h.counts[i].Load()
	}
	return now
}

// A ratio is how much of some counters other counters are, over the last hour.
type ratio struct {
	part, whole []*Counter
	ends        ring[[2]int64]
}

func (r *ratio) load() (sums [2]int64) {
	// The part is read first: what is counted in between makes the whole larger and never the part larger than the whole.
	for _, c := range r.part {
		sums[0] += c.Value()
	}
	for _, c := range r.whole {
		sums[1] += c.Value()
	}
	return sums
}

// A sampled is a series with a history. The collector calls its methods one at a time.
type sampled interface {
	restart()        // begin the history now
	push(missed int) // the end of a minute, with missed ones before it
	read() reading
}

// A reading is what a series shows: the value of a counter, gauge or ratio, or the buckets of a histogram, and its last minutes.
type reading struct {
	labels []string
	value  int64   // of a counter or gauge
	ratio  float64 // NaN if nothing was counted
	hour   []float64

	// Of a histogram: each bucket alone, since the start and in the last hour, and in each minute. hour has the 99th percentiles.
	buckets, lately []int64
	perMinute       [minutes][]int64
	sum             time.Duration
}

func (c *Counter) restart()        { c.ends.restart(c.n.Load()) }
func (c *Counter) push(missed int) { c.ends.push(c.n.Load(), missed) }

func (c *Counter) read() reading {
	r := reading{value: c.n.Load(), hour: unknown()}
	c.ends.steps(func(i, n int, from, to int64) { r.hour[i] = float64(to-from) / float64(n) })
	return r
}

func (g *Gauge) restart()        { g.ends = ring[int64]{} } // nothing is known of the end of a minute that was not seen
func (g *Gauge) push(missed int) { g.ends.push(g.n.Load(), missed) }

func (g *Gauge) read() reading {
	r := reading{value: g.n.Load(), hour: unknown()}
	for i := range r.hour {
		if g.ends.known[i+1] {
			r.hour[i] = float64(g.ends.at[i+1])
		}
	}
	return r
}

func (h *Histogram) restart()        { h.ends.restart(h.load()) }
func (h *Histogram) push(missed int) { h.ends.push(h.load(), missed) }

func (h *Histogram) read() reading {
	r := reading{buckets: h.load(), sum: time.Duration(h.sum.Load())}
	r.lately = r.buckets
	if old, ok := h.ends.oldest(); ok {
		r.lately = less(r.buckets, old)
	}
	h.ends.steps(func(i, _ int, from, to []int64) { r.perMinute[i] = less(to, from) })
	r.hour = percentiles(h.bounds, r.perMinute)
	return r
}

func (r *ratio) restart()        { r.ends.restart(r.load()) }
func (r *ratio) push(missed int) { r.ends.push(r.load(), missed) }

func (r *ratio) read() reading {
	now := r.load()
	out := reading{ratio: math.NaN(), hour: unknown()}
	if old, ok := r.ends.oldest(); ok {
		out.ratio = quotient(old, now)
	}
	r.ends.steps(func(i, _ int, from, to [2]int64) { out.hour[i] = quotient(from, to) })
	return out
}

// quotient is the part of what the whole grew by; NaN if it did not grow.
func quotient(from, to [2]int64) float64 {
	if to[1] <= from[1] {
		return math.NaN()
	}
	return min(float64(to[0]-from[0])/float64(to[1]-from[1]), 1)
}

// less is what each bucket grew by.
func less(to, from []int64) []int64 {
	d := make([]int64, len(to))
	for i := range to {
		d[i] = to[i] - from[i]
	}
	return d
}

func percentiles(bounds []time.Duration, perMinute [minutes][]int64) []float64 {
	hour := unknown()
	for i, buckets := range perMinute {
		hour[i], _ = percentile(bounds, buckets, 0.99)
	}
	return hour
}

// percentile estimates, in seconds, what a share of q of all that is in the buckets does not exceed: evenly spread within its bucket, of which the
// first begins at 0. If it is above the highest bound, that one is given, and above is true. NaN if there is nothing in the buckets.
func percentile(bounds []time.Duration, buckets []int64, q float64) (seconds float64, above bool) {
	total := sum(buckets)
	if total == 0 {
		return math.NaN(), false
	}
	rank, below, lower := q*float64(total), int64(0), 0.0
	for i, bound := range bounds {
		upper := bound.Seconds()
		if n := buckets[i]; n > 0 && float64(below+n) >= rank {
			return lower + float64((upper-lower)*(rank-float64(below))/float64(n)), false // the same on every processor
		}
		below, lower = below+buckets[i], upper
	}
	return lower, true
}

func sum(ns []int64) (total int64) {
	for _, n := range ns {
		total += n
	}
	return total
}

// merge adds up readings of one family.
func merge(f *family, all []reading) reading {
	m := reading{ratio: math.NaN(), hour: unknown()}
	if f.kind == kindHistogram {
		m.buckets, m.lately = make([]int64, len(f.Bounds)+1), make([]int64, len(f.Bounds)+1)
	}
	for _, r := range all {
		m.value, m.sum = m.value+r.value, m.sum+r.sum
		add(&m.buckets, r.buckets)
		add(&m.lately, r.lately)
		for i := range m.hour {
			if math.IsNaN(m.hour[i]) {
				m.hour[i] = 0
			}
			m.hour[i] += r.hour[i] // all series are noted at the same moments: what is unknown of one is so of all
			if r.perMinute[i] != nil {
				add(&m.perMinute[i], r.perMinute[i])
			}
		}
	}
	if f.kind == kindHistogram {
		m.hour = percentiles(f.Bounds, m.perMinute)
	}
	if len(all) == 1 {
		m.ratio = all[0].ratio
	}
	return m
}

// add adds b to *a, which is copied if it is not there yet.
func add(a *[]int64, b []int64) {
	if *a == nil {
		*a = make([]int64, len(b))
	}
	for i := range b {
		(*a)[i] += b[i]
	}
}
