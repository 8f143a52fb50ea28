package proxy

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// safety is how long before its end a life is over here, so that it is not over on the way; an eighth of a life that is shorter than 40 seconds.
const safety = 5 * time.Second

// A kept answer is all that a hit needs, with nothing left to compute. It does not change, but for the text of its age.
type kept struct {
	body    []byte
	entries int
	tag     []string // ETag; these are values of headers
	length  []string
	caching []string

	// Moments in nanoseconds since 1970.
	valid int64 // from then on; before, our clock was set back too far for the answer to be from the past
	born  int64 // what Age counts from
	fresh int64 // until then all that it says holds
	end   int64 // until then some of it does

	age atomic.Pointer[ageText]
}

// An ageText is an Age header, which is the same for a second.
type ageText struct {
	seconds int64
	value   []string
}

// newKept keeps verified bytes of which all holds for shortest and a part for longest, both since issued.
func newKept(body []byte, issued time.Time, shortest, longest time.Duration, now time.Time) *kept {
	k := &kept{body: body, length: []string{strconv.Itoa(len(body))}, tag: []string{serving.Tag(body)}}
	k.valid = issued.Add(-protocol.MaxAhead).UnixNano()
	k.born = min(issued.UnixNano(), now.UnixNano())
	k.fresh = issued.Add(shortest - max(0, min(safety, shortest/8))).UnixNano()
	k.end = issued.Add(longest - max(0, min(safety, longest/8))).UnixNano()
	k.caching = []string{"public, max-age=" + strconv.FormatInt(max(0, k.fresh-k.born)/int64(time.Second), 10)}
	return k
}

// keepAnswer keeps an answer.
func keepAnswer(s *protocol.Signed, now time.Time) *kept {
	shortest := s.Answer.Life(nil)
	for i := range s.Answer.Entries {
		shortest = min(shortest, s.Answer.Life(s.Answer.Entries[i:i+1]))
	}
	k := newKept(s.Bytes, s.Answer.Issued.Time, shortest, s.Answer.Longest(), now)
	k.entries = len(s.Answer.Entries)
	return k
}

func (k *kept) isFresh(now time.Time) bool {
	t := now.UnixNano()
	return t >= k.valid && t < k.fresh
}

// isUsable tells whether a part of what it says holds.
func (k *kept) isUsable(now time.Time) bool {
	t := now.UnixNano()
	return t >= k.valid && t < k.end
}

// ageAt is the Age header.
func (k *kept) ageAt(now time.Time) []string {
	s := max(0, now.UnixNano()-k.born) / int64(time.Second)
	if a := k.age.Load(); a != nil && a.seconds == s {
		return a.value
	}
	a := &ageText{s, []string{strconv.FormatInt(s, 10)}}
	k.age.Store(a)
	return a.value
}

// perEntry is what a kept answer takes besides its body, in bytes: measured.
const perEntry = 640

// A cache keeps answers by prefix, within a number of bytes: those that are asked for most often. It is safe for concurrent use.
type cache struct {
	o *otter.Cache[protocol.Prefix, *kept]
}

func newCache(most int64) (*cache, error) {
	o, err := otter.New(&otter.Options[protocol.Prefix, *kept]{MaximumWeight: uint64(most), Logger: &otter.NoopLogger{},
		Weigher: func(_ protocol.Prefix, k *kept) uint32 { return uint32(len(k.body) + perEntry) }})
	return &cache{o}, err
}

// get gives what is kept for p, which may be neither fresh nor usable; nil for nothing.
func (c *cache) get(p protocol.Prefix) *kept {
	k, _ := c.o.GetIfPresent(p)
	return k
}

// fresh gives what is kept for p and needs no question; nil for nothing.
func (c *cache) fresh(p protocol.Prefix, now time.Time) *kept {
	if k := c.get(p); k != nil && k.isFresh(now) {
		return k
	}
	return nil
}

func (c *cache) put(p protocol.Prefix, k *kept) { c.o.Set(p, k) }

// size is how many answers are kept, and about how many bytes they take.
func (c *cache) size() (entries int, bytes int64) {
	return c.o.EstimatedSize(), int64(c.o.WeightedSize())
}
