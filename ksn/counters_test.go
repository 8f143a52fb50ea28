package ksn

import "testing"

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
		if resumed := c.stored.Resume(); c.want && !resumed.Covered(c.stored) {
			t.Errorf("%s: a restart is not covered by what it read", name)
		}
	}
}
