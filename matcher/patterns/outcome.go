package patterns

import "example.org/avdb/pattern"

// unknown stands for a number of matches of which nothing is known; lots is more than any number of matches.
const (
	unknown = -1
	lots    = uint64(1) << 40
)

// atLeast stands for n matches or more.
func atLeast(n int) int { return unknown - n }

// An outcome is what an expression may still come to: whether it may hold, whether it may not, and what it may count.
type outcome struct {
	yes, no     bool
	least, most uint64
}

// possible tells whether an expression may hold for some matches of those that are unknown. It may say yes for one that cannot, and never no for one
// that can.
func possible(expression []byte, matches []int) bool {
	may, _ := foresee(expression, matches)
	return may
}

// foresee tells whether an expression may hold, and whether it may not, for some matches of those that there may be. It may say yes of what cannot be, and never no of
// what can.
func foresee(expression []byte, matches []int) (may, mayNot bool) {
	o, _ := outcomeOf(expression, matches, 0)
	return o.yes, o.no
}

func outcomeOf(b []byte, matches []int, depth int) (o outcome, rest []byte) {
	if depth > pattern.MaxDepth {
		panic(damage("an expression is too deep"))
	}
	t, b := readTerm(b)
	o = outcome{yes: true, no: true, most: lots}
	if t.term == pattern.TermIndex {
		if n := matches[t.value]; n >= 0 {
			o.least, o.most = uint64(n), uint64(n)
		} else {
			o.least = uint64(unknown - n)
		}
		if t.compare == pattern.CompareNone {
			return o.when(o.most > 0, o.least == 0), b
		}
		return o.compare(&t), b
	}
	all, some := outcome{yes: true}, outcome{no: true}
	o.most = 0
	for range t.value {
		var c outcome
		c, b = outcomeOf(b, matches, depth+1)
		all.yes, all.no = all.yes && c.yes, all.no || c.no
		some.yes, some.no = some.yes || c.yes, some.no && c.no
		o.least, o.most = min(lots, o.least+c.least), min(lots, o.most+c.most)
	}
	if t.term == pattern.TermAnd {
		o = o.when(all.yes, all.no)
	} else {
		o = o.when(some.yes, some.no)
	}
	if t.compare == pattern.CompareNone {
		return o, b
	}
	return o.compare(&t), b
}

// when is o if it may hold and may not as said; what does not hold counts nothing.
func (o outcome) when(yes, no bool) outcome {
	o.yes, o.no = yes, no
	if no {
		o.least = 0
	}
	if !yes {
		o.most = 0
	}
	return o
}

// compare applies the comparison of t to what was counted, be it because the group holds or 0 because it does not.
func (o outcome) compare(t *term) outcome {
	n := uint64(t.count)
	var yes, no bool
	switch t.compare {
	case pattern.CompareEqual:
		yes, no = o.least <= n && n <= o.most, o.least != n || o.most != n
	case pattern.CompareMore:
		yes, no = o.most > n, o.least <= n
	case pattern.CompareLess:
		yes, no = o.least < n, o.most >= n
	}
	return o.when(yes, no || t.distinct > 0)
}
