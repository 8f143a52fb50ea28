package patterns

import (
	"reflect"
	"strings"
	"testing"

	"example.org/avdb/prefilter"
)

// Every length of an anchor that is looked for may cost a pass over all objects: where a longer part, or one with a place, is there to tell, the short ones are looked for
// only in objects that have it.
func TestShortPartsAreLeftToLongerOnes(t *testing.T) {
	run := func(n int) string { return strings.Repeat("8fd1c3", n)[:2*n] }
	m := prefilter.DefaultModel()
	for _, c := range []struct {
		name, line string
		late       bool
		trigger    int
	}{
		{"all long", "0:*:" + run(16) + "*" + run(20), false, 1},
		{"long and short", "0:*:" + run(12) + "{2-9}" + run(20), true, 1},
		{"short and shorter", "0:*:" + run(12) + "{2-9}" + run(9), true, 0},
		{"all short", "0:*:" + run(12) + "{2-9}" + run(12), false, 0},
		{"short behind a place", "0:16:" + run(12) + "{2-9}" + run(9), true, 0},
		{"long behind a place", "0:16:" + run(12) + "{2-9}" + run(20), false, 1},
		{"one", "0:*:" + run(10), false, 0},
	} {
		plans, _ := plansOf(body(t, c.line))
		p := &plans[0]
		p.draw(m)
		if p.late != c.late || p.triggers[0] != c.trigger {
			t.Errorf("%s: late %t with part %d, want %t with part %d", c.name, p.late, p.triggers[0], c.late, c.trigger)
		}
	}
}

// Of a logical signature as many parts are looked for as it takes to rule it out, the cheapest of those that cost a pass; for what nothing rules out it is decided about each object.
// A variant is looked for like a subsignature of its own, and open as long as one of them is not.
func TestLogicalSignaturesAreRuledOutByTheCheapestParts(t *testing.T) {
	const random = "8fd1c3a95e17b26c40f3d8729be1054d"
	run := func(n int) string { return random[:2*n] }
	type sub struct {
		late     bool
		triggers []int // by variant
		counted  uint32
	}
	m := prefilter.DefaultModel()
	for _, c := range []struct {
		name, line string
		always     bool
		subs       []sub
	}{
		{"a long one rules out the short one", "0&1;" + run(4) + ";" + run(16), false, []sub{{true, []int{-1}, 1}, {false, []int{0}, 1}}},
		{"one that is enough is looked for", "0|1;" + run(4) + ";" + run(16), false, []sub{{false, []int{0}, 1}, {false, []int{0}, 1}}},
		{"of short ones the longest", "0&1&2;" + run(3) + ";" + run(6) + ";" + run(4), false,
			[]sub{{true, []int{-1}, 1}, {false, []int{0}, 1}, {true, []int{-1}, 1}}},
		{"for each side of an or", "(0&1)|(2&3);" + run(3) + ";" + run(6) + ";" + run(5) + ";" + run(2), false,
			[]sub{{true, []int{-1}, 1}, {false, []int{0}, 1}, {false, []int{0}, 1}, {true, []int{-1}, 1}}},
		{"one at a place costs no pass", "0&1;" + run(4) + ";16:" + run(4), false, []sub{{true, []int{-1}, 1}, {false, []int{0}, 1}}},
		{"what must not be rules nothing out", "0&1=0;" + run(16) + ";" + run(4), false, []sub{{false, []int{0}, 1}, {true, []int{-1}, 1}}},
		{"nor do parts of what must not be", "0=0;" + run(4), true, []sub{{false, []int{0}, 1}}},
		{"nor counts that may be none", "0<3;" + run(16), true, []sub{{false, []int{0}, 4}}},
		{"a count does", "0>3&1;" + run(16) + ";" + run(4), false, []sub{{false, []int{0}, 4}, {true, []int{-1}, 4}}},
		{"the sum of a group does", "(0|1)>3&2;" + run(16) + ";" + run(12) + ";" + run(4), false,
			[]sub{{false, []int{0}, 4}, {false, []int{0}, 4}, {true, []int{-1}, 4}}},
		{"chains stay late, with a trigger", "0;" + run(4) + "*" + run(6), false, []sub{{true, []int{1}, 1}}},
		{"wide forms are long", "0&1;" + run(16) + ";" + run(6) + "::w", false, []sub{{false, []int{0}, 1}, {false, []int{0}, 1}}},
		{"plain ones beside them are not", "0&1;" + run(16) + ";" + run(6) + "::wa", false, []sub{{false, []int{0}, 1}, {true, []int{0, -1}, 1}}},
		{"they are looked for as well if need be", "0;" + run(6) + "::wa", false, []sub{{false, []int{0, 0}, 1}}},
		{"by their own triggers in chains", "0;" + run(6) + "*" + run(3) + "::wa", false, []sub{{true, []int{0, 0}, 1}}},
		{"and both if both are long", "0;" + run(16) + "::wa", false, []sub{{false, []int{0, 0}, 1}}},
	} {
		r := logical(t, "Target:0;"+c.line)
		plans, counted := plansOf(r)
		for i := range plans {
			plans[i].draw(m)
		}
		if always := !settle(plans, appendTerm(nil, &r.Logical.Expression)); always != c.always {
			t.Errorf("%s: always %t, want %t", c.name, always, c.always)
		}
		var got []sub
		for i := range plans {
			got = append(got, sub{plans[i].late, plans[i].triggers, counted})
		}
		if !reflect.DeepEqual(got, c.subs) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.subs)
		}
	}
}
