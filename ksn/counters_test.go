package ksn

import (
	"reflect"
	"testing"
	"time"
)

// What a restart would count covers what was used, and nothing that belongs to another day or record does.
func TestCovered(t *testing.T) {
	of := func(day, used, leased int64) Counters {
		return Counters{Records: map[string]Spent{"r": {Day: day, Used: used, Leased: leased}}}
	}
	for name, c := range map[string]struct {
		used, stored Counters
		want         bool
	}{
		"nothing at all":        {Counters{}, Counters{}, true},
		"nothing was stored":    {of(1, 1, 10), Counters{}, false},
		"within the lease":      {of(1, 10, 20), of(1, 3, 10), true},
		"beyond the lease":      {of(1, 11, 20), of(1, 3, 10), false},
		"the lease of a day":    {of(2, 1, 10), of(1, 3, 10), false},
		"a rate alone":          {of(1, 0, 0), Counters{}, true},
		"records that were let": {Counters{}, of(1, 3, 10), true},
	} {
		if got := c.used.Covered(c.stored); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if resumed := c.stored.Resume(time.Unix(0, 0)); c.want && !resumed.Covered(c.stored) {
			t.Errorf("%s: a restart is not covered by what it read", name)
		}
	}
}

// What others counted is added day by day, whichever day each of them believes it is; the day of now comes first, and 3 others are kept.
func TestMergeOfDays(t *testing.T) {
	now := time.Unix(100*24*3600, 0)
	const today = 100
	for name, c := range map[string]struct{ ours, base, stored, want Spent }{
		"the same day": {Spent{Day: today, Used: 3, Leased: 5}, Spent{Day: today, Used: 1, Leased: 2}, Spent{Day: today, Used: 4, Leased: 6},
			Spent{Day: today, Used: 7, Leased: 9}},
		"stored is ahead": {Spent{Day: today, Used: 6, Leased: 6}, Spent{}, Spent{Day: today + 5, Used: 1, Leased: 2},
			Spent{Day: today, Used: 6, Leased: 6, Others: []Daily{{today + 5, 2, 2}}}},
		"stored is ahead, and knows today": {Spent{Day: today, Used: 6, Leased: 6}, Spent{Day: today, Used: 5, Leased: 5},
			Spent{Day: today + 5, Used: 1, Leased: 1, Others: []Daily{{today, 8, 8}}}, Spent{Day: today, Used: 9, Leased: 9, Others: []Daily{{today + 5, 1, 1}}}},
		"ours is ahead": {Spent{Day: today + 5, Used: 1, Leased: 1}, Spent{}, Spent{Day: today, Used: 6, Leased: 6},
			Spent{Day: today, Used: 6, Leased: 6, Others: []Daily{{today + 5, 1, 1}}}},
		"stored is behind": {Spent{Day: today, Used: 2, Leased: 2}, Spent{}, Spent{Day: today - 5, Used: 1, Leased: 1},
			Spent{Day: today, Used: 2, Leased: 2, Others: []Daily{{today - 5, 1, 1}}}},
		"nobody asked today": {Spent{Day: today - 1, Used: 2, Leased: 2}, Spent{}, Spent{Day: today - 2, Used: 1, Leased: 1},
			Spent{Day: today - 1, Used: 2, Leased: 2, Others: []Daily{{today - 2, 1, 1}}}},
		"what was given back": {Spent{Day: today, Used: 2, Leased: 8}, Spent{Day: today, Used: 2, Leased: 8}, Spent{Day: today, Used: 2, Leased: 2},
			Spent{Day: today, Leased: 2}},
		"more days than are kept": {Spent{Day: today, Used: 1, Leased: 1, Others: []Daily{{3, 1, 1}, {4, 1, 1}, {5, 1, 1}}}, Spent{},
			Spent{Day: 6, Used: 1, Leased: 1, Others: []Daily{{7, 1, 1}}}, Spent{Day: today, Used: 1, Leased: 1, Others: []Daily{{6, 1, 1}, {7, 1, 1}, {3, 1, 1}}}},
	} {
		of := func(s Spent) Counters { return Counters{Records: map[string]Spent{"r": s}} }
		if got := of(c.ours).Merge(of(c.base), of(c.stored), now).Records["r"]; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// Of two buckets it is the one that was asked last; one that is ahead of the clock never is, and what it misses is not given back.
func TestMergeOfBuckets(t *testing.T) {
	now := time.Unix(1000000, 0)
	at := func(missing int64, d time.Duration) Bucket { return Bucket{missing, now.Add(d).UnixMicro()} }
	for name, c := range map[string]struct{ stored, ours, want Bucket }{
		"later":                  {at(5, -time.Hour), at(1, 0), at(1, 0)},
		"earlier":                {at(5, 0), at(9, -time.Hour), at(5, 0)},
		"within the tolerance":   {at(5, ClockTolerance), at(9, 0), at(5, ClockTolerance)},
		"ahead, and fuller":      {at(5, 24*time.Hour), at(9, -time.Second), at(9, -time.Second)},
		"ahead, and emptier":     {at(9, 24*time.Hour), at(5, -time.Second), at(9, 0)},
		"ours is ahead":          {at(9, -time.Second), at(5, 24*time.Hour), at(5, 0)},
		"both are ahead":         {at(9, 48*time.Hour), at(5, 24*time.Hour), at(9, 0)},
		"ahead, with no request": {at(9, 24*time.Hour), Bucket{}, at(9, 0)},
	} {
		if got := (Counters{Ceiling: c.ours}).Merge(Counters{}, Counters{Ceiling: c.stored}, now).Ceiling; got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	if got := (Counters{Ceiling: at(9, 24*time.Hour)}).Resume(now).Ceiling; got != at(9, 0) {
		t.Errorf("a new process starts with %+v", got)
	}
}

// What was experienced of a time to come is not told, and begins no series of failures.
func TestLinkFromAhead(t *testing.T) {
	now := time.Unix(1000000, 0).UTC()
	ahead := now.AddDate(0, 0, 20)
	ok, failed := Link{}.Answered(now), Link{}.Answered(now).Failed(ahead, "no", true)
	for _, c := range []struct{ in, want Link }{
		{ok, ok}, {failed, ok}, {Link{}.Answered(ahead), Link{}}, {Link{}.Answered(ahead).Failed(ahead, "no", true), Link{}},
		{Link{}.Answered(now.Add(ClockTolerance)), Link{}.Answered(now.Add(ClockTolerance))},
	} {
		if got := c.in.Past(now); got != c.want {
			t.Errorf("%+v is told as %+v, want %+v", c.in, got, c.want)
		}
	}
	if got := failed.Failed(now, "again", false); got.FailedAt != now || got.Failures != 1 || got.AllRoutes {
		t.Errorf("a failure of now: %+v", got)
	}
	if st := NewStatus(Situation{Link: failed, Now: now}); st.LastError != "" || !st.LastOK.Equal(now) {
		t.Errorf("the status says %+v", st)
	}
}
