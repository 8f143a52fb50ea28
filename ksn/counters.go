package ksn

import (
	"maps"
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
	Rate   Bucket `json:"rate,omitzero"`
	Day    int64  `json:"day,omitempty"`    // since 1970 in UTC, to which the numbers belong
	Used   int64  `json:"used,omitempty"`   // requests that passed on Day
	Leased int64  `json:"leased,omitempty"` // requests of Day that a restart counts as used, at least Used
}

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

// today is the numbers of now's day: another day starts from nothing, also one before, since a
// clock that was wrong once must not use up a day that is still to come.
func (s Spent) today(now time.Time) Spent {
	if d := day(now); s.Day != d {
		s.Day, s.Used, s.Leased = d, 0, 0
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

// Resume is what a new process starts from, given what the last one wrote: everything leased counts as used.
func (c Counters) Resume() Counters {
	c.Records = maps.Clone(c.Records)
	for id, s := range c.Records {
		s.Used = max(s.Used, s.Leased)
		c.Records[id] = s
	}
	return c
}

// Settle is what to write when a process ends in good order: it gives back what was leased and not used.
func (c Counters) Settle() Counters {
	c.Records = maps.Clone(c.Records)
	for id, s := range c.Records {
		s.Leased = s.Used
		c.Records[id] = s
	}
	return c
}

// Covered tells whether a process that starts from stored, after [Counters.Resume], counts all that c has used up of daily numbers.
func (c Counters) Covered(stored Counters) bool {
	for id, s := range c.Records {
		if w := stored.Records[id]; s.Used > 0 && (w.Day != s.Day || w.Leased < s.Used) {
			return false
		}
	}
	return true
}

// Merge is what to store and to go on from, where stored may hold what other processes wrote since base was the same for all: what they leased counts
// as used here, and the leases of all are stored. Buckets are those of whoever asked last: they fill within minutes, and a device seldom has
// two processes that ask.
func (c Counters) Merge(base, stored Counters) Counters {
	out := Counters{Ceiling: laterBucket(stored.Ceiling, c.Ceiling), Records: map[string]Spent{}}
	for id, o := range c.Records {
		s, known := stored.Records[id]
		switch {
		case !known || s.Day < o.Day:
		case s.Day > o.Day:
			s.Used = max(s.Used, s.Leased)
			o = s
		default:
			others := s.Leased
			if b := base.Records[id]; b.Day == s.Day {
				others -= b.Leased
			} else if b.Day > s.Day {
				others = 0
			}
			o.Used, o.Leased = max(0, o.Used+others), max(0, o.Leased+others)
			o.Rate = laterBucket(s.Rate, o.Rate)
		}
		out.Records[id] = o
	}
	for id, s := range stored.Records {
		if _, ours := out.Records[id]; !ours {
			if _, dropped := base.Records[id]; !dropped {
				s.Used = max(s.Used, s.Leased)
				out.Records[id] = s
			}
		}
	}
	return out
}

func laterBucket(a, b Bucket) Bucket {
	if a.At > b.At {
		return a
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
