package prefilter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// mixture is literals of all tiers and a text of n bytes in which each stands often, some of them without case.
func mixture(seed uint64, n int) ([]Literal, []byte) {
	r := random(seed)
	var literals []Literal
	for i := range 300 {
		size := 2 + i%40
		if i%50 == 49 {
			size = 500 * (1 + i/50)
		}
		literals = append(literals, Literal{ID: uint32(i), Bytes: randomBytes(r, size), NoCase: i%7 == 0})
	}
	text := make([]byte, 0, n)
	for len(text) < n {
		text = append(text, literals[r.IntN(len(literals))].Bytes...)
		text = append(text, randomBytes(r, r.IntN(30))...)
	}
	return literals, text[:n]
}

// The hits are the same wherever the stream was cut.
func TestBlocksOfAnySize(t *testing.T) {
	literals, text := mixture(1, 3<<20)
	s := mustOpen(t, literals, Options{})
	c := s.NewScanner()
	want := naive(text, literals)
	if len(want) < 40000 {
		t.Fatalf("only %d hits: the text has changed", len(want))
	}
	r := random(2)
	for name, cut := range map[string]func(int) int{
		"1": func(int) int { return 1 }, "2": func(int) int { return 2 }, "63": func(int) int { return 63 }, "64": func(int) int { return 64 }, "4093": func(int) int { return 4093 },
		"32 KiB": func(int) int { return 32 << 10 }, "256 KiB": func(int) int { return 256 << 10 }, "1 MiB": func(int) int { return 1 << 20 }, "all": whole,
		"any":   func(int) int { return r.IntN(1 << 20) },
		"small": func(int) int { return r.IntN(100) }, "sometimes large": func(int) int { return r.IntN(1 << r.IntN(18)) },
	} {
		got := scanAll(c, text, func(left int) int { return min(left, cut(left)) })
		sortHits(got)
		if !slices.Equal(got, want) {
			t.Errorf("blocks of %s: %d hits, want %d", name, len(got), len(want))
		}
	}
}

// A literal is found when a block ends at any place of it, also at both ends of the stream.
func TestEverySplit(t *testing.T) {
	for size := MinLiteral; size <= 40; size++ {
		literal := randomBytes(random(uint64(size)), size)
		for before := range 20 {
			text := slices.Concat(make([]byte, before), literal, literal[:size/2], literal)
			literals := []Literal{{ID: 7, Bytes: literal}}
			c := mustOpen(t, literals, Options{}).NewScanner()
			want := naive(text, literals)
			for split := range len(text) {
				n := 0
				got := scanAll(c, text, func(left int) int {
					if n++; n == 1 {
						return split
					}
					return left
				})
				sortHits(got)
				if !slices.Equal(got, want) {
					t.Fatalf("%d bytes after %d, split at %d: %v, want %v", size, before, split, got, want)
				}
			}
		}
	}
}

// A candidate that differs from the literal in one byte, wherever it is, is no hit.
func TestNearMissesAreNoHits(t *testing.T) {
	for _, noCase := range []bool{false, true} {
		for size := MinLiteral; size <= 100; size++ {
			literal := []byte(strings.Repeat("q", size))
			for i := range literal {
				literal[i] += byte(i % 5) // letters, and those with a neighbour that is none: see below
			}
			c := mustOpen(t, []Literal{{Bytes: literal, NoCase: noCase}}, Options{}).NewScanner()
			for i := range literal {
				for _, bit := range []byte{1, 0x20, 0x80} {
					text := slices.Clone(literal)
					text[i] ^= bit
					got := len(scanAll(c, text, whole))
					if want := noCase && bit == 0x20; (got == 1) != want || got > 1 {
						t.Fatalf("%q in %q without case %v: %d hits", literal, text, noCase, got)
					}
				}
			}
		}
	}
	// What differs by the bit of case, and is no letter, is not the same.
	c := mustOpen(t, []Literal{{Bytes: []byte("[@a{`z]^~0123456"), NoCase: true}}, Options{}).NewScanner()
	for text, want := range map[string]int{"[@A{`Z]^~0123456": 1, "[`a{`z]^~0123456": 0, "{@a{`z]^~0123456": 0, "[@a{`z]^~\x1023456": 0, "[@a{`z}^~0123456": 0} {
		if got := len(scanAll(c, []byte(text), whole)); got != want {
			t.Errorf("%q: %d hits, want %d", text, got, want)
		}
	}
}

func TestStop(t *testing.T) {
	c := mustOpen(t, []Literal{{ID: 1, Bytes: []byte("ab")}, {ID: 2, Bytes: []byte("the end of the stream")}}, Options{}).NewScanner()
	n := 0
	stop := func(Hit) bool { n++; return false }
	text := []byte(strings.Repeat("ab", 100) + "the end of the stream")
	if c.Scan(text, stop) || n != 1 {
		t.Errorf("%d hits after the first one was refused", n-1)
	}
	if c.Scan(text, stop) || n != 1 {
		t.Error("a scan that is over went on")
	}
	if c.Finish(stop) || n != 1 {
		t.Error("a scan that is over ended with a hit")
	}
	if got := scanAll(c, text, whole); len(got) != 101 {
		t.Errorf("the next stream has %d hits, want 101", len(got))
	}
}

func TestEmptySetAndEmptyStream(t *testing.T) {
	if got := scanAll(mustOpen(t, nil, Options{}).NewScanner(), make([]byte, 100), whole); len(got) != 0 {
		t.Error(got)
	}
	c := mustOpen(t, []Literal{{Bytes: []byte("something to be found")}}, Options{}).NewScanner()
	if got := scanAll(c, nil, whole); len(got) != 0 {
		t.Error(got)
	}
}

// A scan for literals that are not there allocates nothing, whatever the blocks.
func TestNoAllocationWithoutHits(t *testing.T) {
	literals, _ := mixture(3, 1)
	c := mustOpen(t, literals[20:], Options{}).NewScanner()
	text := bytes.Repeat([]byte("0123456789 abcdef "), 20000)
	hit := func(Hit) bool { return true }
	n := testing.AllocsPerRun(10, func() {
		for i := 0; i < len(text); i += 5000 {
			c.Scan(text[i:min(len(text), i+5000)], hit)
		}
		c.Finish(hit)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// hostile sets are made so that their literals cannot be told apart by what a candidate has in common with them.
func hostile(n int) map[string][]Literal {
	r := random(4)
	common := []byte("\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90")
	sets := map[string][]Literal{}
	add := func(name string, noCase bool, parts ...[]byte) {
		sets[name] = append(sets[name], Literal{ID: uint32(len(sets[name])), Bytes: slices.Concat(parts...), NoCase: noCase})
	}
	for i := range n {
		add("one gram, random on both sides", false, randomBytes(r, 6), common[:8], randomBytes(r, 6))
		add("one window, random far off", false, bytes.Repeat([]byte{0x90}, 100), randomBytes(r, 6))
		add("one window, random before it", false, randomBytes(r, 6), bytes.Repeat([]byte{0x90}, 100))
		add("runs of all lengths and a tail", false, bytes.Repeat([]byte{0}, 15+i%300), randomBytes(r, 7))
		add("a head and runs of all lengths", false, randomBytes(r, 7), bytes.Repeat([]byte{0}, 15+i%300))
		add("one window at each offset", false, bytes.Repeat([]byte{0x90}, i%1000), []byte("the window of them all"), bytes.Repeat([]byte{0x90}, 1+i/1000))
		letters := []byte("abcdefghijklmnopqrst")
		for j := range letters {
			letters[j] ^= byte(i>>j&1) << 5
		}
		add("all cases", i == 0, letters)
		short := []byte("\x00\x00\x00\x00\x00\x00\x00\x00")
		add("short ones", false, short[:2+i%5], []byte{byte(1 + i%255), byte(1 + i/255)})
	}
	return sets
}

// The work for each byte does not grow with the number of literals, for texts of their grams, of what surrounds them, and of nothing but zeros: the
// places that are tested are given by the tiers, and a candidate compares few literals, beside those that it hits.
func TestHostileSetsStayLinear(t *testing.T) {
	const size = 1 << 18
	r := random(5)
	texts := map[string][]byte{
		"zeros": make([]byte, size), "pads": bytes.Repeat([]byte{0x90}, size), "random": randomBytes(r, size),
		"windows": bytes.Repeat([]byte("the window of them all"), size/22), "letters": bytes.Repeat([]byte("aBcDeFgHiJkLmNoPqRsT"), size/20),
		"windows in pads": bytes.Repeat([]byte(strings.Repeat("\x90", 1000)+"the window of them all"+strings.Repeat("\x90", 40)), size/1062),
	}
	for name, literals := range hostile(5000) {
		c := mustOpen(t, literals, Options{}).NewScanner()
		all := []byte{}
		for _, l := range literals[:min(len(literals), size/len(literals[len(literals)-1].Bytes))] {
			all = append(all, l.Bytes...)
		}
		texts["its own literals"] = all
		perByte := 0.0
		for _, tier := range c.set.tiers {
			perByte += 1 / float64(tier.s)
		}
		for text, b := range texts {
			hits := uint64(0)
			hit := func(Hit) bool { hits++; return true }
			c.Reset()
			c.Scan(b, hit)
			looked, steps, compared := c.looked, c.steps, c.compared
			c.Finish(hit)
			if bound := uint64(perByte*float64(len(b))) + 8; looked > bound {
				t.Errorf("%s in %s: %d candidates, want %d at most", name, text, looked, bound)
			}
			if most := uint64(len(b)) + 2*hits; compared > most || steps > most {
				t.Errorf("%s in %s: %d literals compared and %d steps in trees, for %d bytes and %d hits", name, text, compared, steps, len(b), hits)
			}
		}
	}
}

// Hostile sets have the hits of a naive search, too.
func TestHostileSetsAreExact(t *testing.T) {
	for name, literals := range hostile(300) {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, literals, Options{})
			var text []byte
			for _, l := range literals[:100] {
				text = append(text, l.Bytes...)
			}
			text = append(text, fmt.Sprint("the window of them all", strings.Repeat("\x90", 50))...)
			got := scanAll(s.NewScanner(), text, func(left int) int { return min(left, 777) })
			sortHits(got)
			if want := naive(text, literals); !slices.Equal(got, want) {
				t.Errorf("%d hits, want %d", len(got), len(want))
			}
		})
	}
}
