package prefilter

import "testing"

// A set uses the tiers that cost least: the widest for some long literals, the one for many if there are too many or a shorter one is among
// them, and no tier for a few literals that another one that is there anyway can take.
func TestTiersAreThoseThatCostLeast(t *testing.T) {
	of := func(n, size int) (literals []Literal) {
		r := random(uint64(n + size))
		for i := range n {
			literals = append(literals, Literal{ID: uint32(i), Bytes: randomBytes(r, size)})
		}
		return literals
	}
	for _, c := range []struct {
		name     string
		literals []Literal
		want     []int
	}{
		{"none", nil, nil},
		{"long ones", of(1000, 30), []int{0}},
		{"long ones and a shorter one", append(of(1000, 30), of(1, 15)...), []int{1}},
		{"too many long ones", of(maxReckoned+1, 20), []int{1}},
		{"long and short ones", append(of(100, 30), of(10, 9)...), []int{3}},
		{"too many long ones and some short ones", append(of(maxReckoned+1, 16), of(10, 9)...), []int{1, 3}},
		{"many long ones and some that are a little shorter", append(of(maxReckoned+1, 16), of(100, 10)...), []int{mixedTier}},
		{"so many that their grams would be everywhere", append(of(20*maxReckoned, 16), of(100, 10)...), []int{1, mixedTier}},
		{"none but some that are a little shorter", of(100, 12), []int{mixedTier}},
	} {
		use := mustOpen(t, c.literals, Options{}).counts.inUse()
		want := tiersInUse{}
		for _, tier := range c.want {
			want[tier] = true
		}
		if use != want {
			t.Errorf("%s: tiers %v, want %v", c.name, use, want)
		}
	}
}
