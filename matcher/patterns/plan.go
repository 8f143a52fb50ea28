package patterns

import (
	"math"

	"example.org/avdb/pattern"
	"example.org/avdb/prefilter"
)

// What a part may cost to be looked for while an object is read. Shorter anchors need passes of the prefilter of their own.
const (
	early     = 9       // bytes of an anchor
	long      = 15      // bytes of one that needs no more than the fastest pass
	earlyCost = 1 << 14 // one candidate in 4 MiB
	rareCost  = 1 << 9  // one in 128 MiB: what is rarer is as good
)

// An anchor is bytes that each match of a part has, for the prefilter.
type anchor struct {
	literal, from, size int    // which of the part's literals they are of, and where in it
	least, most         int    // how far behind the start of a match they stand
	cost                uint64 // how many candidates a byte of ordinary text makes, in 2^-36
	placed              bool   // the part is not looked for, but tested at its offset
}

// A plan is how a subsignature is going to be matched.
type plan struct {
	offset   pattern.Offset
	variants []pattern.Variant
	anchors  [][]anchor // by variant and part
	late     bool
	triggers []int // by variant: the part that is looked for if late; -1: none
}

// plansOf gives the subsignatures of a record, and how many matches of one make a difference.
func plansOf(r pattern.Record) (plans []plan, enough uint32) {
	if r.Body != nil {
		s := pattern.Subsignature{Offset: r.Body.Offset, Body: r.Body.Body}
		return []plan{{offset: s.Offset, variants: s.Variants()}}, 1
	}
	for i := range r.Logical.Subsignatures {
		s := &r.Logical.Subsignatures[i]
		plans = append(plans, plan{offset: s.Offset, variants: s.Variants()})
	}
	return plans, uint32(min(mostCompared(&r.Logical.Expression)+1, counted))
}

// mostCompared is the greatest number that matches are compared with. What is above it, in an index or in the sum of a group, has the same outcome
// in each comparison, however much it is.
func mostCompared(e *pattern.Expression) uint64 {
	most := uint64(e.Count)
	for i := range e.Children {
		most = max(most, mostCompared(&e.Children[i]))
	}
	return most
}

// settle has all parts looked for that are needed for the expression to be ruled out where nothing is there, the cheapest first. It is false if there
// are none left: then the signature may hold although nothing that is looked for matches.
func settle(plans []plan, expression []byte) bool {
	for possible(expression, unseen(plans)) {
		best := -1
		for i := range plans {
			if plans[i].open() && (best < 0 || plans[i].price() < plans[best].price()) {
				best = i
			}
		}
		if best < 0 {
			return false
		}
		plans[best].force()
	}
	return true
}

// unseen is the matches of each subsignature where nothing that is looked for matched.
func unseen(plans []plan) []int {
	matches := make([]int, len(plans))
	for i := range plans {
		if plans[i].open() {
			matches[i] = unknown
		}
	}
	return matches
}

// draw makes the plan: early if all parts are, else late, with the best of its early parts as triggers. Parts that are shorter than the trigger and not long need not be
// looked for: the trigger alone is met so seldom that reading an object again for them costs less than a pass over all objects for short anchors.
func (p *plan) draw(m *prefilter.Model) {
	for i := range p.variants {
		v := &p.variants[i]
		anchors := make([]anchor, len(v.Parts))
		trigger := -1
		for part := range v.Parts {
			anchors[part] = chooseAnchor(&v.Parts[part], m)
			a := &anchors[part]
			a.placed = part == 0 && fixed(p.offset)
			switch {
			case !a.placed && (a.size < early || a.cost > earlyCost):
				p.late = true
			case trigger < 0 || a.better(&anchors[trigger]):
				trigger = part
			}
		}
		if trigger >= 0 && anchors[0].placed && anchors[trigger].size < long {
			trigger = 0
		}
		if trigger >= 0 {
			for k, a := range anchors {
				short := a.size < min(long, anchors[trigger].size) || anchors[trigger].placed && k != trigger && a.size < long
				p.late = p.late || !a.placed && short
			}
		}
		p.anchors, p.triggers = append(p.anchors, anchors), append(p.triggers, trigger)
	}
}

// open tells whether it may match although nothing that is looked for did.
func (p *plan) open() bool {
	for _, t := range p.triggers {
		if p.late && t < 0 {
			return true
		}
	}
	return false
}

// force has a part of each variant looked for, whatever it costs. What has no other parts is not late then.
func (p *plan) force() {
	p.late = false
	for i, anchors := range p.anchors {
		if p.triggers[i] < 0 {
			p.triggers[i] = cheapest(anchors)
		}
		p.late = p.late || len(anchors) > 1
	}
}

// price is what force costs.
func (p *plan) price() uint64 {
	most := uint64(0)
	for i, anchors := range p.anchors {
		if p.triggers[i] < 0 {
			most = max(most, anchors[cheapest(anchors)].price())
		}
	}
	return most
}

func cheapest(anchors []anchor) int {
	best := 0
	for i := range anchors {
		if anchors[i].price() < anchors[best].price() {
			best = i
		}
	}
	return best
}

// better tells whether a costs less than b, or is longer and costs as much.
func (a *anchor) better(b *anchor) bool {
	if x, y := max(a.price(), rareCost), max(b.price(), rareCost); x != y {
		return x < y
	}
	return a.size > b.size
}

// price is the cost of an anchor, and of the pass over each object that its length makes necessary. A part with a place costs no pass, and says
// less about an object than one that is met nowhere else.
func (a *anchor) price() uint64 {
	passes := [...]uint64{2: 1 << 28, 3: 1 << 26, 4: 1 << 24, 5: 1 << 22, 6: 1 << 22, 7: 1 << 20, 8: 1 << 20}
	switch n := a.size; {
	case a.placed:
		return earlyCost
	case n < len(passes):
		return a.cost + passes[n]
	}
	return a.cost
}

// chooseAnchor finds the anchor of a part: what costs least, of equals the longest. Each place that a match could start at because of one anchor costs
// as much as another anchor. Of a long run the bytes around what is rarest will do: the prefilter is the faster the shorter its longest literal.
func chooseAnchor(p *pattern.Part, m *prefilter.Model) (a anchor) {
	best, longest := uint64(math.MaxUint64), 0
	for i, l := range p.Literals() {
		if len(l.Bytes) < prefilter.MinLiteral {
			continue
		}
		at, size, cost := m.Rarest([]byte(l.Bytes))
		if ways := uint64(l.Most - l.Least + 1); cost > math.MaxUint64/2/ways {
			cost = math.MaxUint64 / 2
		} else {
			cost *= ways
		}
		cost = max(cost, rareCost)
		if a.size > 0 && (cost > best || cost == best && len(l.Bytes) <= longest) {
			continue
		}
		from := max(0, min(at+size/2-maxAnchor/2, len(l.Bytes)-maxAnchor))
		best, longest = cost, len(l.Bytes)
		a = anchor{literal: i, from: from, size: min(longest-from, maxAnchor), least: l.Least + from, most: l.Most + from, cost: cost}
	}
	return a
}
