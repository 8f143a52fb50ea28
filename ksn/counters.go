package ksn

import (
	"maps"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// The built-in ceiling holds for all requests of a device together, whatever any record allows.
const (
	CeilingRate  = 20  // requests a second
	CeilingBurst = 100 // at once
)

// Counters are what limits have used up so far. The zero value is a device that asked nothing yet. A Counters is a
// value: [Decide] gives the next one back and leaves the one it got as it was. Whoever shares it between goroutines
// locks around Decide.
//
// Daily numbers are meant to survive restarts without a write before each request: a day is leased in sixteenths.
// When [Decision.Save] is set, a further lease was taken, and Counters should be written soon, in the background; what
// was written is read back with [Counters.Resume]. A crash thus loses a part of a lease, and a crash before the
// write gives away at most one.
type Counters struct {
	Ceiling Bucket           `json:"ceiling"`
	Records map[string]Spent `json:"records,omitempty"` // by record id; only records of the set that limit
}

// Spent is what one record's limits have used up.
type Spent struct {
	Rate   Bucket  `json:"rate,omitzero"`
	Day    int64   `json:"day,omitempty"`    // since 1970 in UTC, to which the numbers belong
	Used   int64   `json:"used,omitempty"`   // requests that passed on Day
	Leased int64   `json:"leased,omitempty"` // requests of Day that a restart counts as used, at least Used
	Others []Daily `json:"others,omitempty"` // days that the clock said before Day, the latest first: at most 3
}

// Daily is what one day has used up of a daily number, as [Spent] has it.
type Daily struct {
	Day    int64 `json:"day"`
	Used   int64 `json:"used,omitempty"`
	Leased int64 `json:"leased,omitempty"`
}

// maxOthers bounds Spent.Others: a clock that is wrong and then corrected says two or three days in turn.
const maxOthers = 3

// ClockTolerance is how far ahead of now a stored moment may be before it counts as written while the clock was ahead: clocks that are
// corrected all the time go back by less, and networks and devices may differ by as much.
const ClockTolerance = 10 * time.Minute

// Ahead tells whether a stored moment was written while the clock was ahead of now by more than [ClockTolerance].
func Ahead(t, now time.Time) bool { return t.Sub(now) > ClockTolerance }

// A Bucket is a token bucket. Its zero value is full.
type Bucket struct {
	Missing int64 `json:"missing,omitempty"` // what a full bucket has more; a request is per_s*1e6
	At      int64 `json:"at,omitempty"`      // microseconds since 1970, at which Missing was true
}

// refill is the bucket at now, with Missing brought up to date, and cut to what this rate can miss. While the clock
// is behind At the bucket gains nothing; a clock that was set back by more than the bucket takes to fill finds it full,
// because waiting for At could take days.
func (b Bucket) refill(r dbformat.RestrictionRate, now time.Time) Bucket {
	at, rate := now.UnixMicro(), int64(r.Requests)
	b.Missing = min(max(b.Missing, 0), int64(r.Burst)*cost(r))
	// Compared before anything is multiplied: a long time must not overflow. Neither does the
	// difference of two moments, because it is taken as a distance.
	switch d, ahead := distance(b.At, at); {
	case d > uint64(b.Missing/rate):
		return Bucket{At: at}
	case ahead:
		b.Missing -= int64(d) * rate
	}
	b.At = at
	return b
}

// distance is how far b is from a, and whether it is after a.
func distance(a, b int64) (d uint64, ahead bool) {
	if b >= a {
		return uint64(b) - uint64(a), true
	}
	return uint64(a) - uint64(b), false
}

// cost is what one request takes: units are chosen so that the bucket gains r.Requests of them a microsecond. With the
// bounds of records (each number up to 1e6) a full bucket is at most 1e18.
func cost(r dbformat.RestrictionRate) int64 { return int64(r.PerS) * 1e6 }

// wait is how long a refilled bucket needs until one request passes, 0 for now.
func (b Bucket) wait(r dbformat.RestrictionRate) time.Duration {
	short := b.Missing - int64(r.Burst-1)*cost(r)
	if short <= 0 {
		return 0
	}
	us := (short + int64(r.Requests) - 1) / int64(r.Requests)
	return time.Duration(us) * time.Microsecond
}

// take lets one request pass.
func (b Bucket) take(r dbformat.RestrictionRate) Bucket {
	b.Missing += cost(r)
	return b
}

// today is the numbers of now's day. Each day starts from nothing, but for one that the clock said before: neither a clock that was ahead, nor
// one that was behind, gives a day back what it has used up, and what is used up while it is wrong is that other day's.
func (s Spent) today(now time.Time) Spent {
	d := day(now)
	if s.Day == d {
		return s
	}
	return s.with(slices.Concat([]Daily{s.of(d)}, s.days()))
}

// of is the numbers of a day.
func (s Spent) of(day int64) Daily {
	for _, d := range s.days() {
		if d.Day == day {
			return d
		}
	}
	return Daily{Day: day}
}

// days lists the days that have used up something, that of s first.
func (s Spent) days() []Daily {
	if s.Used == 0 && s.Leased == 0 {
		return s.Others
	}
	return slices.Concat([]Daily{{s.Day, s.Used, s.Leased}}, s.Others)
}

// with is s with the first of the days, and others beside it that have used up something; a day that comes again is left out.
func (s Spent) with(days []Daily) Spent {
	s.Day, s.Used, s.Leased, s.Others = 0, 0, 0, nil
	for i, d := range days {
		switch known := slices.ContainsFunc(days[:i], func(o Daily) bool { return o.Day == d.Day }); {
		case i == 0:
			s.Day, s.Used, s.Leased = d.Day, d.Used, d.Leased
		case !known && (d.Used > 0 || d.Leased > 0) && len(s.Others) < maxOthers:
			s.Others = append(s.Others, d)
		}
	}
	return s
}

// eachDay is s with the numbers of each day changed.
func (s Spent) eachDay(change func(*Daily)) Spent {
	d := Daily{s.Day, s.Used, s.Leased}
	change(&d)
	s.Used, s.Leased, s.Others = d.Used, d.Leased, slices.Clone(s.Others)
	for i := range s.Others {
		change(&s.Others[i])
	}
	return s
}

// lease counts one request of a day of at most most, and tells whether the lease grew: by a sixteenth, half of one before
// it is used up, so that the write can happen while requests go on.
func (s Spent) lease(most int64) (_ Spent, grew bool) {
	step := max(1, most/16)
	s.Used++
	if s.Leased < most && s.Leased-s.Used <= step/2 {
		s.Leased, grew = min(s.Leased+step, most), true
	}
	s.Leased = max(s.Leased, s.Used)
	return s, grew
}

// Resume is what a new process starts from at now, given what the last one wrote: everything leased counts as used, and a bucket that was written while the
// clock was ahead fills from now on.
func (c Counters) Resume(now time.Time) Counters {
	c.Ceiling = c.Ceiling.noLater(now)
	c.Records = maps.Clone(c.Records)
	for id, s := range c.Records {
		s.Rate = s.Rate.noLater(now)
		c.Records[id] = s.eachDay(leasedIsUsed)
	}
	return c
}

func leasedIsUsed(d *Daily) { d.Used = max(d.Used, d.Leased) }

// Settle is what to write when a process ends in good order: it gives back what was leased and not used.
func (c Counters) Settle() Counters {
	c.Records = maps.Clone(c.Records)
	for id, s := range c.Records {
		c.Records[id] = s.eachDay(func(d *Daily) { d.Leased = d.Used })
	}
	return c
}

// Today is c without the numbers of other days than each record's last one: for whoever has no room for them.
func (c Counters) Today() Counters {
	c.Records = maps.Clone(c.Records)
	for id, s := range c.Records {
		s.Others = nil
		c.Records[id] = s
	}
	return c
}

// Covered tells whether a process that starts from stored, after [Counters.Resume], counts all that c has used up of daily numbers.
func (c Counters) Covered(stored Counters) bool {
	for id, s := range c.Records {
		if s.Used > 0 && stored.Records[id].of(s.Day).Leased < s.Used {
			return false
		}
	}
	return true
}

// Merge is what to store and to go on from at now, where stored may hold what other processes wrote since base was the same for all: what they leased counts
// as used here, and the leases of all are stored, for each day by itself. Buckets are those of whoever asked last: they fill within minutes, and a device seldom
// has two processes that ask. One that was written while the clock was ahead is not that of the last.
func (c Counters) Merge(base, stored Counters, now time.Time) Counters {
	out := Counters{Ceiling: laterBucket(stored.Ceiling, c.Ceiling, now), Records: map[string]Spent{}}
	for id, o := range c.Records {
		s, known := stored.Records[id]
		if known {
			o = mergeDays(o, base.Records[id], s, now)
			o.Rate = laterBucket(s.Rate, o.Rate, now)
		}
		out.Records[id] = o
	}
	for id, s := range stored.Records {
		if _, ours := out.Records[id]; !ours {
			if _, dropped := base.Records[id]; !dropped {
				s.Rate = s.Rate.noLater(now)
				out.Records[id] = s.eachDay(leasedIsUsed)
			}
		}
	}
	return out
}

// mergeDays is ours with what others counted of each day. Of more days than are kept, the present one and those go last that were asked on last.
func mergeDays(ours, base, stored Spent, now time.Time) Spent {
	var days []Daily
	for _, d := range slices.Concat([]Daily{{Day: day(now)}, {Day: ours.Day}}, stored.days(), ours.days()) {
		o, others := ours.of(d.Day), stored.of(d.Day).Leased-base.of(d.Day).Leased
		days = append(days, Daily{d.Day, max(0, o.Used+others), max(0, o.Leased+others)})
	}
	if today := days[0]; today.Used == 0 && today.Leased == 0 {
		days = days[1:]
	}
	return ours.with(days)
}

// laterBucket is the one that was asked last.
func laterBucket(stored, ours Bucket, now time.Time) Bucket {
	s, o := stored.noLater(now), ours.noLater(now)
	switch {
	case s != stored && s.Missing <= o.Missing: // when s was true is not known
		return o
	case s != stored || s.At > o.At:
		return s
	}
	return o
}

// noLater is the bucket that misses as much, and from now on gains, where it was written while the clock was ahead: to wait for At could take days.
func (b Bucket) noLater(now time.Time) Bucket {
	if Ahead(time.UnixMicro(b.At), now) {
		b.At = now.UnixMicro()
	}
	return b
}

// A Ledger counts what became of questions, for status and support. Its zero value says that
// nothing was asked. It holds no names and no keys.
type Ledger struct {
	File         Tally            `json:"file"`
	URL          Tally            `json:"url"`
	Software     Tally            `json:"software"`
	SuppressedBy map[string]int64 `json:"suppressed_by"` // look-ups that a restriction held back, by its id
}

// A Tally counts the look-ups of one kind of object.
type Tally struct {
	Asked      int64 `json:"asked"`      // sent to the network
	Answered   int64 `json:"answered"`   // of these, with an authentic answer
	Suppressed int64 `json:"suppressed"` // held back by the gate
}
