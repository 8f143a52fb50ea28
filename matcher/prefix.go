package matcher

import (
	"sort"

	"example.org/avdb/dbformat"
)

// seek is the first row of v in [from, end) whose low bits are not less than want. [dbformat.PrefixBlock.Find] searches
// a whole range; tag lines have already led close to the row, so that this one looks at from itself first, then ever
// further: the rows behind an overflowed line are nearly always decided by the first one.
func seek(v *dbformat.PrefixBlock, from, end int, want uint64) int {
	if from >= end || v.Low(from) >= want {
		return from
	}
	step := 1
	for from+step < end && v.Low(from+step) < want {
		from += step
		step *= 2
	}
	// from is less than want; the answer is behind it, at from+step at the latest.
	last := min(from+step, end)
	return from + 1 + sort.Search(last-from-1, func(i int) bool { return v.Low(from+1+i) >= want })
}
