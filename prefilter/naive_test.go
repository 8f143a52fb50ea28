package prefilter

import (
	"bytes"
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// naive finds every hit by comparing every literal at every place. An identifier that has several literals is told for each of them.
func naive(text []byte, literals []Literal) []Hit {
	hits := []Hit{}
	folded := map[bool][]byte{false: text, true: asciiLower(text)}
	type known struct {
		id     uint32
		bytes  string
		noCase bool
	}
	seen := map[known]bool{}
	for _, l := range literals {
		noCase := l.NoCase && bytes.ContainsFunc(l.Bytes, func(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' })
		want, in := l.Bytes, folded[noCase]
		if noCase {
			want = asciiLower(want)
		}
		k := known{l.ID, string(want), noCase}
		if seen[k] {
			continue
		}
		seen[k] = true
		for at := 0; ; at++ {
			i := bytes.Index(in[at:], want)
			if i < 0 {
				break
			}
			at += i
			hits = append(hits, Hit{ID: l.ID, At: int64(at)})
		}
	}
	sortHits(hits)
	return hits
}

func asciiLower(b []byte) []byte {
	b = slices.Clone(b)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

func sortHits(h []Hit) {
	slices.SortFunc(h, func(x, y Hit) int { return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.ID, y.ID)) })
}

func mustOpen(t testing.TB, literals []Literal, o Options) *Set {
	t.Helper()
	s, err := Open(mustBuild(t, literals, o))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// scanAll gives the hits in the order in which they are told. cut says how long the next block is.
func scanAll(c *Scanner, text []byte, cut func(left int) int) []Hit {
	hits := []Hit{}
	hit := func(h Hit) bool { hits = append(hits, h); return true }
	for len(text) > 0 {
		n := cut(len(text))
		c.Scan(text[:n], hit)
		text = text[n:]
	}
	c.Finish(hit)
	return hits
}

func whole(left int) int { return left }

func wantHits(t *rapid.T, s *Set, text []byte, literals []Literal, cut func(left int) int) {
	t.Helper()
	got := scanAll(s.NewScanner(), text, cut)
	sorted := slices.Clone(got)
	sortHits(sorted)
	if want := naive(text, literals); !slices.Equal(sorted, want) {
		t.Fatalf("hits %v, want %v, of %v in %q", sorted, want, literals, text)
	}
}

// literalsAndText draws literals over a small alphabet, so that they overlap and share grams, and a text with many of them in it, some spoiled in one byte.
func literalsAndText(t *rapid.T) ([]Literal, []byte) {
	letters := rapid.SampledFrom([][]byte{[]byte("ab"), []byte("aAbB"), {0, 1, 2, 0xff}, []byte("aAzZ@[`{0\x90")}).Draw(t, "alphabet")
	word := func(least, most int) []byte {
		return rapid.SliceOfN(rapid.SampledFrom(letters), least, most).Draw(t, "bytes")
	}
	shared := word(0, 20)
	literals := make([]Literal, rapid.IntRange(0, 40).Draw(t, "literals"))
	longest := rapid.SampledFrom([]int{3, 8, 14, 20, 40}).Draw(t, "longest")
	for i := range literals {
		b := word(MinLiteral, longest)
		if rapid.Bool().Draw(t, "with the shared part") {
			b = slices.Concat(word(0, 9), shared, b)
		}
		literals[i] = Literal{ID: uint32(rapid.IntRange(0, 50).Draw(t, "id")), Bytes: b, NoCase: rapid.IntRange(0, 3).Draw(t, "case") == 0}
	}
	var text []byte
	for range rapid.IntRange(0, 20).Draw(t, "parts") {
		if len(literals) == 0 || rapid.IntRange(0, 2).Draw(t, "filler") == 0 {
			text = append(text, word(0, 40)...)
			continue
		}
		b := slices.Clone(rapid.SampledFrom(literals).Draw(t, "literal").Bytes)
		if rapid.IntRange(0, 3).Draw(t, "near miss") == 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "where")] ^= byte(rapid.SampledFrom([]int{1, 0x20, 0x80}).Draw(t, "bit"))
		}
		text = append(text, b...)
	}
	return literals, text
}

// The hits are those of a search for each literal at each place, whatever the literals, the text, the blocks and the tiers in use.
func TestHitsAreThoseOfANaiveSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		literals, text := literalsAndText(t)
		use := tiersInUse{tierCount - 1: true}
		for i := range tierCount - 1 {
			use[i] = rapid.Bool().Draw(t, "tier")
		}
		b, err := build(literals, Options{}, rapid.SampledFrom([]func([]entry, *Model) tiersInUse{chooseTiers, tiers(use)}).Draw(t, "tiers"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(b)
		if err != nil {
			t.Fatal(err)
		}
		most := rapid.SampledFrom([]int{1, 2, 7, 64, 1000}).Draw(t, "longest block")
		wantHits(t, s, text, literals, func(left int) int { return min(left, rapid.IntRange(1, most).Draw(t, "block")) })
	})
}

// The hits of each literal come in ascending order.
func TestHitsOfALiteralAscend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		literals, text := literalsAndText(t)
		for i := range literals {
			literals[i].ID = uint32(i)
		}
		b, err := Build(literals, Options{Model: oneModel()})
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(b)
		if err != nil {
			t.Fatal(err)
		}
		last := map[uint32]int64{}
		for _, h := range scanAll(s.NewScanner(), text, func(left int) int { return min(left, 50) }) {
			if was, ok := last[h.ID]; ok && was >= h.At {
				t.Fatalf("literal %q at %d after %d", literals[h.ID].Bytes, h.At, was)
			}
			last[h.ID] = h.At
		}
	})
}
