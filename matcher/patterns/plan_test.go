package patterns

import (
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
