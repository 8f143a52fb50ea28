package matcher

import (
	"math/bits"
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

// even is the row of [from, end) that would be the first with low bits of at least want if the hashes were spread with perfect evenness.
// The range has rows.
func even(v *dbformat.PrefixBlock, from, end int, want uint64) int {
	share, _ := bits.Mul64(want<<(64-v.LowBits()), uint64(end-from))
	return from + int(share)
}

// seekEven is the first row of v in [from, end), rows of one range, whose low bits are not less than want. It looks where even leads first, then
// ever further from there: random hashes are found within two lines of memory, and whatever is in the block in as many steps as halving takes twice.
func seekEven(v *dbformat.PrefixBlock, from, end int, want uint64) int {
	if from >= end {
		return from
	}
	at, step := even(v, from, end, want), 8
	if v.Low(at) < want {
		from = at + 1
		for next := at + step; next < end; next += step {
			if v.Low(next) >= want {
				end = next
				break
			}
			from, step = next+1, 2*step
		}
	} else {
		low := from
		end = at
		for next := at - step; next >= low; next -= step {
			if v.Low(next) < want {
				from = next + 1
				break
			}
			end, step = next, 2*step
		}
	}
	for from < end { // those before from are less, those from end on are not
		if mid := int(uint(from+end) >> 1); v.Low(mid) < want {
			from = mid + 1
		} else {
			end = mid
		}
	}
	return from
}
