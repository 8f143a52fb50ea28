package matcher

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// naive is the oracle of the property tests: the content itself, asked record by
// record, with the verdict rules spelled out a second time and in another way.
type naive struct {
	c      *dbformat.Content
	prefix uint8
	full   bool
	pua    bool
}

// same tells whether two hashes agree in their first n bits.
func same(a, b []byte, n int) bool {
	return bytes.Equal(a[:n/8], b[:n/8]) && (n%8 == 0 || a[n/8]>>(8-n%8) == b[n/8]>>(8-n%8))
}

func (m naive) answer(sums map[dbformat.Algorithm][]byte, size int64) (Verdict, string, string) {
	type hit struct {
		verdict Verdict
		alg     dbformat.Algorithm
		name    string
		section dbformat.SectionID
	}
	var hits []hit
	var allowed []hit
	for id, records := range m.c.Sections {
		sum, ok := sums[id.Algorithm()]
		if !ok || id == urlSection || id.PUA() && !m.pua {
			continue
		}
		for _, r := range records {
			h := hit{Malicious, id.Algorithm(), r.Name, id}
			if h.name == "" {
				h.name = dbformat.DefaultName(h.alg, r.Hash[:])
			}
			exact := bytes.Equal(r.Hash[:len(sum)], sum) && (r.Size == dbformat.AnySize || int64(r.Size) == size)
			switch {
			case id.Split() && !m.full:
				if same(r.Hash[:], sum, int(m.prefix)) {
					h.verdict = Suspected
					h.name = "Prefix." + strings.ToUpper(h.alg.String()) + "." + hex.EncodeToString(sum)[:m.prefix/4]
					hits = append(hits, h)
				}
			case !exact:
			case id.Class() == dbformat.ClassAllow:
				if h.alg == dbformat.SHA256 || r.Size != dbformat.AnySize {
					h.verdict = Allowed
					allowed = append(allowed, h)
				}
			case !slices.Contains(m.c.Ignore, h.name):
				hits = append(hits, h)
			}
		}
	}
	hits = slices.DeleteFunc(hits, func(h hit) bool {
		return slices.ContainsFunc(allowed, func(a hit) bool { return h.alg <= a.alg })
	})
	if len(hits) == 0 {
		hits = allowed
	}
	if len(hits) == 0 {
		return Clean, "", ""
	}
	order := []Verdict{Allowed, Malicious, Suspected}
	best := slices.MinFunc(hits, func(a, b hit) int {
		return cmp.Or(
			slices.Index(order, a.verdict)-slices.Index(order, b.verdict),
			int(b.alg)-int(a.alg),
			strings.Compare(a.name, b.name),
			int(a.section)-int(b.section),
		)
	})
	return best.verdict, best.name, best.section.String()
}

// A shape makes hashes that are hard on one part of the index.
type shape struct {
	name string
	hash func(rng *rand.Rand, h []byte)
}

var shapes = []shape{
	{"random", randomHash},
	{"few prefixes", func(rng *rand.Rand, h []byte) {
		randomHash(rng, h)
		for i := range 8 {
			h[i] = byte(i) * 37
		}
		h[rng.IntN(3)] = byte(rng.IntN(3))
	}},
	{"one line", func(rng *rand.Rand, h []byte) {
		randomHash(rng, h)
		copy(h, []byte{0x7f, 0xff, 0xff})
	}},
	{"both ends", func(rng *rand.Rand, h []byte) {
		randomHash(rng, h)
		fill := byte(0)
		if rng.IntN(2) == 0 {
			fill = 0xff
		}
		for i := range 7 {
			h[i] = fill
		}
	}},
	{"one tag", func(rng *rand.Rand, h []byte) {
		randomHash(rng, h)
		for i := 2; i < 9; i++ {
			h[i] = 0xff
		}
	}},
	{"few hashes, many sizes", func(rng *rand.Rand, h []byte) {
		clear(h)
		h[0], h[len(h)-1] = byte(rng.IntN(4)), byte(rng.IntN(3))
	}},
}

func randomHash(rng *rand.Rand, h []byte) {
	for i := range h {
		h[i] = byte(rng.Uint32())
	}
}

// randomRecords makes up to n records with unique keys.
func randomRecords(rng *rand.Rand, a dbformat.Algorithm, n int, s shape) []dbformat.Record {
	type key struct {
		hash [32]byte
		size uint32
	}
	seen := map[key]bool{}
	var out []dbformat.Record
	for range n {
		var r dbformat.Record
		s.hash(rng, r.Hash[:a.Size()])
		if rng.IntN(4) > 0 {
			r.Size = 1 + rng.Uint32N(40)
		}
		if rng.IntN(3) > 0 {
			r.Name = fmt.Sprintf("Test.%c-%d", 'A'+rng.IntN(3), rng.IntN(50))
		}
		if k := (key{r.Hash, r.Size}); !seen[k] {
			seen[k] = true
			out = append(out, r)
		}
	}
	return out
}

// randomContent has up to n records in each of some sections; hashes are shared between sections
// now and then, so that verdicts compete.
func randomContent(rng *rand.Rand, n int, s shape) *dbformat.Content {
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{}}
	for _, a := range dbformat.Algorithms() {
		pool := randomRecords(rng, a, n, s)
		for class := dbformat.ClassHash; class <= dbformat.ClassAllow; class++ {
			switch rng.IntN(4) {
			case 0: // no such section
			case 1:
				c.Sections[class.Section(a)] = randomRecords(rng, a, 1+rng.IntN(n+1), s)
			default:
				some := slices.Clone(pool)
				rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
				if some = some[:rng.IntN(len(some)+1)]; len(some) > 0 {
					c.Sections[class.Section(a)] = some
				}
			}
		}
	}
	for i := range rng.IntN(3) {
		c.Ignore = append(c.Ignore, fmt.Sprintf("Test.%c-%d", 'A'+i, rng.IntN(50)))
	}
	if urls := randomURLs(rng, c, n, s); len(urls) > 0 {
		c.Sections[urlSection] = urls
	}
	return c
}

// randomParams are any that the format allows for small contents.
func randomParams(rng *rand.Rand, c *dbformat.Content) dbformat.Params {
	p := dbformat.Params{Prefix: uint8(12 + 4*rng.IntN(13)), URLPrefix: uint8(12 + 4*rng.IntN(13)), Cuts: map[dbformat.SectionID]dbformat.CutParams{}}
	for id := range c.Sections {
		cut := dbformat.CutParams{B: uint8(rng.IntN(7))}
		if id.Split() {
			cut.K = uint8(rng.IntN(int(cut.B) + 1))
		}
		p.Cuts[id] = cut
	}
	return p
}

// questions are what a content is asked: hashes of all its records with right, wrong and unknown
// sizes, neighbours that share a prefix with them, and strangers.
func questions(rng *rand.Rand, c *dbformat.Content) (qs []map[dbformat.Algorithm][]byte) {
	for id, records := range c.Sections {
		a := id.Algorithm()
		for i, r := range records {
			if i%(1+len(records)/30) > 0 {
				continue
			}
			sum := slices.Clone(r.Hash[:a.Size()])
			q := map[dbformat.Algorithm][]byte{a: sum}
			switch rng.IntN(4) {
			case 0:
				near := slices.Clone(sum)
				near[rng.IntN(len(near))] ^= 1 << rng.IntN(8)
				q[a] = near
			case 1:
				for _, other := range dbformat.Algorithms() {
					all := c.Sections[dbformat.Class(1+rng.IntN(5)).Section(other)]
					if other != a && len(all) > 0 {
						q[other] = slices.Clone(all[rng.IntN(len(all))].Hash[:other.Size()])
					}
				}
			}
			qs = append(qs, q)
		}
	}
	for range 20 {
		q := map[dbformat.Algorithm][]byte{}
		for _, a := range dbformat.Algorithms() {
			q[a] = make([]byte, a.Size())
			randomHash(rng, q[a])
		}
		qs = append(qs, q)
	}
	return qs
}

// TestEveryAnswerIsTheNaiveOne is the promise of this package: whatever the content, the
// parameters and the shape of the hashes, the engine says what a search through all records
// says, with the index, without it, and with every second piece of it gone.
func TestEveryAnswerIsTheNaiveOne(t *testing.T) {
	seen := map[Verdict]int{}
	for _, s := range shapes {
		for i, n := range []int{1, 2, 20, 21, 40, 300, 1000} {
			if n == 1000 && s.name != shapes[0].name && !thorough { // the naive search takes its time
				continue
			}
			rng := rand.New(rand.NewPCG(uint64(n), uint64(i)))
			c := randomContent(rng, n, s)
			p := randomParams(rng, c)
			light, rest, err := dbformat.Build(c, p)
			if err != nil {
				t.Fatalf("%s, %d records: %v", s.name, n, err)
			}
			for _, pua := range []bool{false, true} {
				m := naive{c: c, prefix: p.Prefix, pua: pua}
				compare(t, rng, s.name, m, light, nil, seen)
				m.full = true
				compare(t, rng, s.name, m, light, rest, seen)
			}
		}
	}
	for _, v := range []Verdict{Clean, Suspected, Malicious, Allowed} {
		if seen[v] < 100 {
			t.Errorf("%d answers were %s: the test asks too little", seen[v], v)
		}
	}
}

func compare(t *testing.T, rng *rand.Rand, what string, m naive, light, rest dbformat.LayerReader, seen map[Verdict]int) {
	t.Helper()
	o := Options{PUA: m.pua}
	whole, err := OpenGeneration(light, rest, o)
	if err != nil {
		t.Fatal(err)
	}
	without, err := OpenGeneration(light, rest, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range without.index.pieces {
		without.index.pieces[i].Store(&without.index.none)
	}
	for _, q := range questions(rng, m.c) {
		object := object{size: int64(rng.IntN(42)) - 1}
		for a, sum := range q {
			object.have = object.have.with(a)
			object.sums[a] = sum
		}
		verdict, name, signature := m.answer(q, object.size)
		seen[verdict]++
		for i, e := range []*Engine{whole, without} {
			var r Result
			e.verdict(&object, m.pua, &r)
			if r.Verdict != verdict || r.Name != name || r.Signature != signature || r.Err != nil {
				t.Fatalf("%s, full %t, pua %t, index %t: %x size %d: %s %q by %q, error %v; want %s %q by %q",
					what, m.full, m.pua, i == 0, q, object.size, r.Verdict, r.Name, r.Signature, r.Err, verdict, name, signature)
			}
		}
	}
}
