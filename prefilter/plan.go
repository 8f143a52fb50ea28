package prefilter

import (
	"encoding/binary"
	"slices"
)

// What a set is reckoned to cost for each byte of a text, in 2^-36 operations of a processor: costs are integers, so that they are the same on every
// machine. Only the relations count.
const (
	testCost      = 13 << costBits // of a place that is tested by a sieve
	pairCost      = 6 << costBits  // of one that a pairTable tests
	passedCost    = 32             // in whole operations, of one that a pairTable lets pass to the sieve
	candidateCost = 256            // in whole operations, of one that passes
	maxReckoned   = 1 << 14        // literals of a tier that may be moved: more would make too many candidates, and take too long to reckon with
)

// passCost is what the tests of a tier cost for each byte, beside another tier.
func (h shape) passCost(beside shape) int64 {
	switch {
	case h.s > 2:
		return testCost / int64(h.s)
	case h.s == beside.s:
		return 0 // one table for both
	}
	return pairCost / int64(h.s)
}

// chooseTiers says which tiers a set uses. Each literal could be in the first one whose window fits into it; but each tier costs a pass over the whole
// text, and where it has few literals or rare ones, some more candidates in the tier below cost less.
func chooseTiers(entries []entry, m *Model) tiersInUse {
	use := usual()
	use[0] = true
	var members [tierCount][]*entry
	for i := range entries {
		e := &entries[i]
		tier := use.tierOf(len(e.bytes))
		members[tier] = append(members[tier], e)
	}
	for i := range use {
		use[i] = len(members[i]) > 0
	}
	move := func(from, to int) {
		use[from], use[to] = false, true
		members[to] = append(members[to], members[from]...)
	}
	h := shapes()
	if use[0] {
		// The second tier is the one for many literals.
		many := len(members[0]) > maxReckoned
		if many || use[1] || h[1].passCost(h[0])+m.candidates(members[0], h[1]) < h[0].passCost(h[1])+m.candidates(members[0], h[0]) {
			move(0, 1)
		}
	}
	if n := mixedTier; use[n+1] && !slices.ContainsFunc(members[n+1], func(e *entry) bool { return len(e.bytes) < h[n].window() }) {
		pass, long, short := h[n].passCost(h[n]), members[n-1], members[n+1]
		least := m.candidates(long, h[n-1]) + m.candidates(short, h[n+1]) + h[n+1].passCost(h[n-1])
		if use[n-1] {
			least += pass
		}
		// Of two passes with places as far apart, the tier of long literals keeps its own grams.
		if apart := 2*pass + m.candidates(long, h[n-1]) + m.candidates(short, h[n]); use[n-1] && apart < least {
			least = apart
			move(n+1, n)
		}
		if pass+m.candidates(slices.Concat(long, short), h[n]) < least {
			for i := range use {
				if (i == n-1 || i == n+1) && use[i] {
					move(i, n)
				}
			}
		}
	}
	for i := range use {
		below := i + 1
		for below < tierCount && !use[below] {
			below++
		}
		if !use[i] || below == tierCount || len(members[i])+len(members[below]) > maxReckoned {
			continue
		}
		apart := h[i].passCost(h[below]) + m.candidates(members[i], h[i]) + m.candidates(members[below], h[below])
		if m.candidates(slices.Concat(members[below], members[i]), h[below]) < apart {
			move(i, below)
		}
	}
	return use
}

// candidates is what the candidates cost that literals make of a byte of ordinary text in a tier of this shape. Of more than maxReckoned some stand for all.
func (m *Model) candidates(literals []*entry, h shape) int64 {
	stand := uint64(len(literals)+maxReckoned-1) / maxReckoned
	fold := uint64(0)
	for _, e := range literals {
		if e.noCase {
			fold = foldWord & h.bits()
		}
	}
	seen := map[uint64]bool{} // what several literals have is met once
	sum := uint64(0)
	var pairs *pairTable
	if h.s <= 2 {
		pairs = new(pairTable)
	}
	add := func(g uint64) {
		if !seen[g] {
			seen[g] = true
			sum += m.cost(g, h.q) * stand
		}
	}
	for i, e := range literals {
		if stand > 1 && uint64(i)%stand != 0 {
			continue
		}
		at, _ := m.rarest(e.bytes, h)
		e.grams(h, 0, at, h.s, func(g uint64) {
			if pairs != nil {
				pairs.add(binary.LittleEndian.AppendUint64(nil, g)[:h.q], byte(fold), 1)
			}
			add(g)
			if fold != 0 { // of all that is the same now the most common ones
				add(g | fold)
				add(g &^ fold)
			}
		})
	}
	cost := int64(min(sum, 1<<costBits)) * candidateCost
	if pairs != nil {
		var begin, follow uint64
		for pair, bits := range pairs {
			p := m.cost(uint64(pair), 2)
			begin += p * uint64(bits&1)
			follow += p * uint64(bits>>followsShift)
		}
		cost += int64(begin>>(costBits/2)*(follow>>(costBits/2))) * passedCost
	}
	return cost / int64(h.s)
}
