package prefilter

import (
	"bytes"
	"slices"
	"testing"
)

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
		if raced && len(c.literals) > 20*maxReckoned { // minutes there, and the same without
			continue
		}
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

// Whichever tiers a set uses: a literal without case is found at each of its places in whatever case it stands there, and one with case only as it is;
// equal literals are kept once, and everyone whose it is hears of each place.
func TestEveryPlanFindsAllCasesAndTellsAllOwners(t *testing.T) {
	r := random(17)
	bulk := func(n, size int) (literals []Literal) {
		for i := range n {
			literals = append(literals, Literal{ID: uint32(1000 + i), Bytes: randomBytes(r, size)})
		}
		return literals
	}
	plans := map[tiersInUse]bool{}
	for _, beside := range [][]Literal{nil, bulk(1000, 30), append(bulk(1000, 30), bulk(1, 15)...), bulk(maxReckoned+1, 20), bulk(100, 12), bulk(500, 6), bulk(100, 4), bulk(20, 3), bulk(5, 2)} {
		for _, size := range []int{2, 3, 4, 5, 7, 9, 12, 15, 20, 40} {
			if len(beside) > maxReckoned && size%15 > 0 { // to build takes long
				continue
			}
			word := []byte("Zq[aMz@{bYAx`0kP")
			word = slices.Concat(word, word, word)[:size]
			lower, upper := bytes.ToLower(word), bytes.ToUpper(word)
			literals := append(slices.Clone(beside),
				Literal{ID: 1, Bytes: word, NoCase: true}, Literal{ID: 2, Bytes: lower, NoCase: true}, Literal{ID: 3, Bytes: upper, NoCase: true},
				Literal{ID: 4, Bytes: word}, Literal{ID: 5, Bytes: word}, Literal{ID: 6, Bytes: upper}, Literal{ID: 7, Bytes: lower}, Literal{ID: 4, Bytes: word})
			s := mustOpen(t, literals, Options{})
			plans[s.counts.inUse()] = true
			if kept := s.Literals() - len(beside); kept != 4 {
				t.Errorf("%d literals of %d bytes are kept, want 4: one without case and three with", kept, size)
			}
			var text []byte
			for at := range 40 { // at each distance from the places that are tested
				mixed := slices.Clone(word)
				for i, c := range mixed {
					if isLetter(c) && r.IntN(2) == 0 {
						mixed[i] ^= 0x20
					}
				}
				other := slices.Clone(word) // what is no letter has no case
				i := bytes.IndexAny(other, "[@{`0")
				if i >= 0 {
					other[i] ^= 0x20
				}
				for _, b := range [][]byte{word, lower, upper, mixed, other} {
					text = append(append(text, b...), randomBytes(r, at%17)...)
				}
			}
			text = append(text, upper...)
			got := scanAll(s.NewScanner(), text, whole)
			sortHits(got)
			if want := naive(text, literals); !slices.Equal(got, want) {
				t.Errorf("%d literals beside one of %d bytes: %d hits, want %d", len(beside), size, len(got), len(want))
			}
			told := map[uint32]int{}
			for _, h := range got {
				told[h.ID]++
			}
			if told[1] < 4*40+1 || told[2] != told[1] || told[3] != told[1] || told[4] < 40 || told[5] != told[4] || told[6] < 41 || told[7] < 40 {
				t.Errorf("%d literals beside one of %d bytes: hits by owner %v", len(beside), size, told)
			}
		}
	}
	if len(plans) < 8 {
		t.Errorf("only %d plans: the literals test little", len(plans))
	}
}
