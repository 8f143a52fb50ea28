package patterns

import "example.org/avdb/pattern"

// A span is places of an object, both ends included.
type span struct{ first, last int64 }

// A reach is where the next part of a chain may start, as far as it follows from the matches of the part before: the union of a span for each of them.
// Behind an unbounded gap that is everything from one place on. Spans that touch are joined, so that there are never more of them than one for
// each (max-min+2) bytes of a gap's longest distance, however many matches there are.
type reach struct {
	from  int64  // of an unbounded gap; never before there is a match
	spans []span // of a bounded one, ascending, disjoint, not touching
	head  int    // those before are over
}

// keptSpans is the room for spans that is kept from one object to the next.
const keptSpans = 64

func (r *reach) reset() {
	if r.from, r.spans, r.head = never, r.spans[:0], 0; cap(r.spans) > keptSpans {
		r.spans = nil
	}
}

// live is the number of spans.
func (r *reach) live() int { return len(r.spans) - r.head }

// admits tells whether the part may start at s. What it is asked about never decreases.
func (r *reach) admits(s int64) bool {
	for r.head < len(r.spans) && r.spans[r.head].last < s {
		r.head++
	}
	return s >= r.from || r.head < len(r.spans) && r.spans[r.head].first <= s
}

// next is the first place from s on that r admits, a place behind every object if there is none. What it is asked about never decreases either.
func (r *reach) next(s int64) int64 {
	if r.admits(s) {
		return s
	}
	next := r.from
	if r.head < len(r.spans) {
		next = min(next, r.spans[r.head].first)
	}
	return next
}

// add takes a match of the part before that ends at end, and gives the number of spans that it looked at.
func (r *reach) add(g pattern.Gap, end int64) (steps uint64) {
	first := end + int64(g.Min)
	if g.Max == 0 {
		r.from = min(r.from, first)
		return 1
	}
	if r.head > 16 && r.head > len(r.spans)/2 {
		r.spans = r.spans[:copy(r.spans, r.spans[r.head:])]
		r.head = 0
	}
	s := span{first, end + int64(g.Max)}
	i := len(r.spans) // where s goes; matches come nearly in order of their ends
	for ; i > r.head && r.spans[i-1].first > s.first; i-- {
		steps++
	}
	if i > r.head && r.spans[i-1].last+1 >= s.first {
		i--
		r.spans[i].last = max(r.spans[i].last, s.last)
	} else {
		r.spans = append(r.spans, span{})
		copy(r.spans[i+1:], r.spans[i:])
		r.spans[i] = s
	}
	j := i + 1
	for ; j < len(r.spans) && r.spans[j].first <= r.spans[i].last+1; j++ {
		r.spans[i].last = max(r.spans[i].last, r.spans[j].last)
	}
	if j > i+1 {
		r.spans = append(r.spans[:i+1], r.spans[j:]...)
	}
	return steps + uint64(j-i)
}

// settled tells whether no later match can add to what r admits: later ones end at end or behind it.
func (r *reach) settled(g pattern.Gap, end int64) bool {
	return g.Max == 0 && r.from <= end+int64(g.Min)
}

// A progress is how far a chain came in an object.
type progress struct {
	lost    bool // there were more places than are kept
	reaches []reach
}

// begin makes p that of a chain of so many parts, none of which matched.
func (p *progress) begin(parts int) {
	for len(p.reaches) < parts {
		p.reaches = append(p.reaches, reach{})
	}
	p.reaches = p.reaches[:parts]
	for i := range p.reaches {
		p.reaches[i].reset()
	}
	p.lost = false
}
