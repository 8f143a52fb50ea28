package statistics

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// maxNameBytes bounds the names of a record as JSON, so that all else has room in MaxRecord.
const maxNameBytes = 12 << 10

// counts are those of one record to come.
type counts struct {
	any        bool // something was counted
	questions  Questions
	signatures map[string]uint64
	nameBytes  int // of the keys, as JSON with their counts
	more       uint64
	times      [answerBuckets]uint64
	failures   map[Failure]uint64
}

func add(to *uint64, n uint64) { *to = min(MaxCount, *to+n) }

// question is nil for an unknown kind of object.
func (q *Questions) question(o ksn.Object) *QuestionCount {
	switch o {
	case ksn.ObjectFile:
		return &q.File
	case ksn.ObjectURL:
		return &q.URL
	case ksn.ObjectSoftware:
		return &q.Software
	}
	return nil
}

func (c *counts) took(d time.Duration) {
	i := 0
	for bounds := AnswerBounds(); i < len(bounds) && d > bounds[i]; {
		i++
	}
	add(&c.times[i], 1)
}

func (c *counts) matched(name string, n uint64) {
	if dbformat.CheckName(name) != nil {
		return // no signature has it
	}
	name = withoutHash(name)
	if _, known := c.signatures[name]; !known {
		quoted, err := json.Marshal(name)
		room := len(quoted) + len(`{"name":,"count":1099511627776},`)
		if err != nil || len(c.signatures) == MaxSignatures || c.nameBytes+room > maxNameBytes {
			add(&c.more, n)
			return
		}
		if c.signatures == nil {
			c.signatures = map[string]uint64{}
		}
		c.nameBytes += room
	}
	c.signatures[name] = min(MaxCount, c.signatures[name]+n)
}

func (c *counts) failed(kind Failure, n uint64) {
	if !slices.Contains(failures(), kind) {
		kind = FailureOther
	}
	if c.failures == nil {
		c.failures = map[Failure]uint64{}
	}
	c.failures[kind] = min(MaxCount, c.failures[kind]+n)
}

// merge adds what older counted.
func (c *counts) merge(older *counts) {
	c.any = c.any || older.any
	for _, o := range ksn.Objects() {
		to, from := c.questions.question(o), older.questions.question(o)
		add(&to.Asked, from.Asked)
		add(&to.Answered, from.Answered)
		add(&to.Suppressed, from.Suppressed)
	}
	for name, n := range older.signatures {
		c.matched(name, n)
	}
	add(&c.more, older.more)
	for i, n := range older.times {
		add(&c.times[i], n)
	}
	for kind, n := range older.failures {
		c.failed(kind, n)
	}
}

// fill writes the counts into a record.
func (c *counts) fill(r *Record) {
	r.Questions, r.SignaturesMore = c.questions, c.more
	for name, n := range c.signatures {
		r.Signatures = append(r.Signatures, Signature{name, n})
	}
	slices.SortFunc(r.Signatures, func(a, b Signature) int { return cmp.Compare(a.Name, b.Name) })
	if slices.Max(c.times[:]) > 0 {
		r.AnswerTimes = slices.Clone(c.times[:])
	}
	for kind, n := range c.failures {
		r.Failures = append(r.Failures, FailureCount{kind, n})
	}
	slices.SortFunc(r.Failures, func(a, b FailureCount) int { return cmp.Compare(a.Kind, b.Kind) })
}
