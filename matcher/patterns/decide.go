package patterns

import (
	"io"
	"slices"

	"example.org/avdb/pattern"
)

// decide evaluates the signatures in open, as far as the matches of their subsignatures are known, and adds those that hold to the result. It leaves those in open
// for which the object has to be read again.
func (s *state) decide() {
	slices.Sort(s.open)
	all := slices.Compact(s.open)
	s.open = all[:0]
	for _, n := range all {
		g := s.signature(n)
		s.step(1 + uint64(g.last-g.first)/workSteps)
		holds, known := s.holds(&g)
		if holds {
			s.scanner.result.Matched = append(s.scanner.result.Matched, g.ordinal)
		}
		if !known {
			s.open = append(s.open, n)
		}
	}
}

// decideAgain reads the object again for the signatures that decide left, and adds those that stay undecided. One reading counts for all of them what is not known;
// another one is for what that left because of the others.
func (s *state) decideAgain(r io.ReaderAt, undecided []int) ([]int, error) {
	for n := 0; n < maxReadings && len(s.open) > 0 && !s.over; n++ {
		k := &s.scanner.reading
		k.begin(s)
		for _, n := range s.open {
			s.gather(n, k)
		}
		if k.left > 0 {
			if r == nil {
				break
			}
			err := k.read(r)
			s.learn(k)
			k.release()
			if err != nil {
				return nil, err
			}
		}
		s.decide()
	}
	if !s.over {
		for _, n := range s.open {
			g := s.signature(n)
			undecided = append(undecided, g.ordinal)
		}
	}
	return undecided, nil
}

// gather has those subsignatures of a signature counted whose matches are not known.
func (s *state) gather(n uint32, k *reading) {
	g := s.signature(n)
	for i := g.first; i < g.last; i++ {
		sub := s.sub(i)
		if s.matches(i, &sub) >= 0 {
			continue
		}
		if x := s.recounts.get(i); !x.hopeless {
			first, last, ok := sub.offset.Bounds(s.scanner.object.Size, &s.scanner.facts)
			if x.known = !ok; ok {
				k.add(i, &sub, first, last)
			}
		}
	}
}

// learn takes what a reading counted. One that was given up has counted some matches, too.
func (s *state) learn(k *reading) {
	for i := range k.recounts {
		c := &k.recounts[i]
		x := s.recounts.get(c.sub)
		x.count = max(x.count, c.count)
		x.known = c.count >= c.most || !c.lost && !s.over
		x.hopeless = c.hopeless
	}
}

// holds tells whether a signature holds, if that is known: because all matches are, or because it is the same for all numbers that there may be.
func (s *state) holds(g *signature) (holds, known bool) {
	if g.head == none {
		sub := s.sub(g.first)
		n := s.matches(g.first, &sub)
		return n != 0 && n != unknown, n != unknown
	}
	h, size := s.head(g.head), uint64(s.scanner.object.Size)
	if !h.fileSize().Holds(size) {
		return false, true
	}
	var room [pattern.MaxSubsignatures]int
	matches, counted := room[:g.last-g.first], true
	for i := range matches {
		n := g.first + uint32(i)
		sub := s.sub(n)
		matches[i] = s.matches(n, &sub)
		counted = counted && matches[i] >= 0
	}
	may, mayNot := foresee(h.expression(), matches)
	if !may {
		return false, true
	}
	l, facts := &s.scanner.logical, &s.scanner.facts
	h.logical(l)
	if counted {
		return l.Decide(matches, size, facts), true
	}
	// What it asks beside matches may rule it out before anything is counted.
	e := l.Expression
	l.Expression = pattern.Expression{}
	asked := l.Decide([]int{1}, size, facts)
	l.Expression = e
	return asked && !mayNot, !asked || !mayNot
}

// matches is the number of matches of a subsignature, or, by [atLeast], of those that are known: it is late and may have some, lost a chain, or was not looked for to
// the end of the object.
func (s *state) matches(n uint32, sub *sub) int {
	count, known := 0, !s.cut
	switch c := s.counts.find(n); {
	case sub.late:
		known = known && c == nil && !sub.open
	case c != nil:
		count = int(*c)
		known = *c >= sub.most || known && !s.lost(sub)
	}
	if x := s.recounts.find(n); x != nil {
		count, known = max(count, int(x.count)), x.known
	}
	if !known {
		return atLeast(count)
	}
	return count
}

// lost tells whether a chain of a subsignature was given up.
func (s *state) lost(sub *sub) bool {
	for i := sub.first; i < sub.last && s.chains.used > 0; i++ {
		if at := s.chains.find(i); at != nil && s.progress[*at].lost {
			return true
		}
	}
	return false
}
