package statuspage

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A percentile lies in the bucket of the observation that it stands for.
func TestPercentileIsInTheRightBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := rapid.SliceOfNDistinct(rapid.Int64Range(1, 1e6), 1, 10, rapid.ID[int64]).Draw(t, "bounds")
		slices.Sort(bounds)
		h := &Histogram{}
		m := &Metrics{}
		f := Family{Name: "x", Title: "X", Help: "X."}
		for _, b := range bounds {
			f.Bounds = append(f.Bounds, time.Duration(b)*time.Microsecond)
		}
		h = m.Histograms(f).With()
		all := rapid.SliceOfN(rapid.Int64Range(0, 2e6), 1, 200).Draw(t, "observations")
		for _, us := range all {
			h.Observe(time.Duration(us) * time.Microsecond)
		}
		slices.Sort(all)
		q := rapid.SampledFrom([]float64{0.5, 0.9, 0.99}).Draw(t, "q")
		got, above := percentile(f.Bounds, h.load(), q)
		want := all[max(int(math.Ceil(q*float64(len(all))))-1, 0)]
		i, _ := slices.BinarySearch(bounds, want)
		low, high := 0.0, math.Inf(1)
		if i > 0 {
			low = float64(bounds[i-1]) / 1e6
		}
		if i < len(bounds) {
			high = float64(bounds[i]) / 1e6
		}
		const hair = 1e-9
		if above != (i == len(bounds)) || got < low-hair || got > high+hair {
			t.Fatalf("%v, above %v; the observation is %d µs, between %v and %v", got, above, want, low, high)
		}
	})
}

func TestPercentile(t *testing.T) {
	bounds := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}
	for _, c := range []struct {
		buckets []int64
		q       float64
		want    float64
		above   bool
	}{
		{[]int64{0, 0, 0, 0}, 0.5, math.NaN(), false},
		{[]int64{10, 0, 0, 0}, 0.5, 0.5, false}, // evenly spread from 0
		{[]int64{0, 4, 0, 0}, 0.5, 1.5, false},
		{[]int64{1, 0, 1, 0}, 0.5, 1, false}, // exactly at the end of a bucket
		{[]int64{0, 0, 0, 7}, 0.5, 4, true},
		{[]int64{99, 0, 0, 1}, 0.99, 1, false},
		{[]int64{98, 0, 0, 2}, 0.99, 4, true},
	} {
		got, above := percentile(bounds, c.buckets, c.q)
		if above != c.above || math.Abs(got-c.want) > 1e-12 || math.IsNaN(got) != math.IsNaN(c.want) {
			t.Errorf("%v of %v = %v, %v; want %v, %v", c.q, c.buckets, got, above, c.want, c.above)
		}
	}
}

// A nil series counts nothing and harms nobody, so that a server can be tested without a page.
func TestNilSeries(t *testing.T) {
	var c *Counter
	var g *Gauge
	var h *Histogram
	c.Inc()
	c.Add(1)
	g.Set(1)
	g.Add(1)
	g.SetTime(time.Unix(1, 0))
	h.Observe(1)
	if c.Value() != 0 {
		t.Error(c.Value())
	}
}

func TestCountersNeverFall(t *testing.T) {
	var c Counter
	c.Add(3)
	c.Add(-5)
	c.Add(0)
	if c.Value() != 3 {
		t.Error(c.Value())
	}
	h := (&Metrics{}).Histograms(Family{Name: "x", Title: "X", Help: "X."}).With()
	h.Observe(-time.Hour)
	if h.counts[0].Load() != 1 || h.sum.Load() != 0 {
		t.Error("a clock that was set back made time negative")
	}
}

// A history is what a list of all notes says, whatever was missed and however the clock was set.
func TestHistoriesAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
		m := &Metrics{}
		f := Family{Name: "x", Title: "X", Help: "X."}
		counter := m.Counters(f).With()
		f.Name = "y"
		gauge := m.Gauges(f).With()
		c, err := New(Config{Title: "T", Server: "t", Metrics: m, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		type noted struct{ minute, counted, level int64 }
		notes, levels, total := []noted{{now.Unix() / 60, 0, 0}}, []noted{}, int64(0)
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			n := rapid.Int64Range(0, 100).Draw(t, "n")
			total += n
			counter.Add(n)
			gauge.Set(n)
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, time.Minute, time.Minute, 3 * time.Minute, 59 * time.Minute,
				60 * time.Minute, 61 * time.Minute, -time.Minute, -200 * time.Hour}).Draw(t, "passed"))
			c.Sample(now)
			minute := now.Unix() / 60
			switch last := notes[len(notes)-1].minute; {
			case minute < last || minute > last+60:
				notes, levels = []noted{{minute, total, n}}, nil
			case minute > last:
				notes, levels = append(notes, noted{minute, total, n}), append(levels, noted{minute, total, n})
			}
		}
		end := notes[len(notes)-1].minute
		want, wantLevels := unknown(), unknown()
		for i := 1; i < len(notes); i++ {
			from, to := notes[i-1], notes[i]
			for minute := from.minute; minute < to.minute; minute++ {
				// The gap's beginning must be known as well: an hour and the minute before it are.
				if at := minute - end + 60; at >= 0 && from.minute >= end-60 {
					want[at] = float64(to.counted-from.counted) / float64(to.minute-from.minute)
				}
			}
		}
		for _, l := range levels {
			if at := l.minute - 1 - end + 60; at >= 0 {
				wantLevels[at] = float64(l.level)
			}
		}
		if got := counter.read().hour; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("counter: %v\nwant     %v", got, want)
		}
		if got := gauge.read().hour; fmt.Sprint(got) != fmt.Sprint(wantLevels) {
			t.Fatalf("gauge: %v\nwant   %v", got, wantLevels)
		}
	})
}

// The percentiles that are shown are of the last hour: a bad morning does not spoil the afternoon.
func TestPercentilesForget(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &Metrics{}
	h := m.Histograms(Family{Name: "x", Title: "X", Help: "X."}).With()
	c, err := New(Config{Title: "T", Server: "t", Metrics: m, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	f := m.sections[0].families[0]
	p99 := func() float64 { return f.percentile(h.read(), 0.99).x }
	for range 100 {
		h.Observe(9 * time.Second)
	}
	if p := p99(); p < 5 {
		t.Errorf("p99 %v s at once, want that of the minute that is not complete", p)
	}
	for range 61 {
		now = now.Add(time.Minute)
		c.Sample(now)
		h.Observe(3 * time.Millisecond)
	}
	if p := p99(); p > 0.005 {
		t.Errorf("p99 %v s an hour later", p)
	}
	if r := h.read(); sum(r.buckets) != 161 || sum(r.lately) != 61 || math.IsNaN(r.hour[0]) {
		t.Errorf("%d since the start, %d lately, the oldest minute %v", sum(r.buckets), sum(r.lately), r.hour[0])
	}
}

func TestRatioIsOfTheLastHour(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &Metrics{}
	l := m.Counters(Family{Name: "x", Title: "X", Help: "X.", Labels: []Label{{"k", []string{"hit", "miss"}}}})
	hit, miss := l.With("hit"), l.With("miss")
	m.Ratio(Family{Name: "hit", Title: "Hits", Help: "X."}, []*Counter{hit}, []*Counter{hit, miss})
	c, err := New(Config{Title: "T", Server: "t", Metrics: m, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	r := m.sections[0].families[1].series[0]
	if x := r.read().ratio; !math.IsNaN(x) {
		t.Errorf("%v of nothing", x)
	}
	miss.Add(1000)
	if x := r.read().ratio; x != 0 {
		t.Errorf("%v with misses only", x)
	}
	for range 61 {
		now = now.Add(time.Minute)
		c.Sample(now)
		hit.Add(3)
		miss.Add(1)
	}
	got := r.read()
	if got.ratio != 0.75 || got.hour[minutes-1] != 0.75 {
		t.Errorf("%v, the last minute %v, want 0.75", got.ratio, got.hour[minutes-1])
	}
}

// What counting costs the server: see docs of the package.
func TestCountingAllocatesNothing(t *testing.T) {
	m := &Metrics{}
	l := m.Counters(Family{Name: "x", Title: "X", Help: "X.", Labels: []Label{{"a", []string{"1", "2"}}, {"b", []string{"1", "2"}}}})
	c := l.With("1", "2")
	f := Family{Name: "y", Title: "Y", Help: "Y."}
	g := m.Gauges(f).With()
	f.Name = "z"
	h := m.Histograms(f).With()
	if n := testing.AllocsPerRun(1000, func() { c.Inc(); g.Add(-1); h.Observe(7 * time.Millisecond); l.With("2", "1").Inc() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCount(b *testing.B) {
	m := &Metrics{}
	l := m.Counters(Family{Name: "x", Title: "X", Help: "X.", Labels: []Label{{"a", []string{"1", "2", "3"}}, {"b", []string{"1", "2", "3", "4"}}}})
	c := l.With("2", "3")
	h := m.Histograms(Family{Name: "z", Title: "Z", Help: "Z."}).With()
	each := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					f()
				}
			})
		})
	}
	each("Inc", c.Inc)
	each("With.Inc", func() { l.With("2", "3").Inc() })
	each("Observe=3ms", func() { h.Observe(3 * time.Millisecond) })
	each("Observe=9s", func() { h.Observe(9 * time.Second) })
}
