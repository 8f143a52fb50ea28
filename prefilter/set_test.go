package prefilter

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// oneModel is [DefaultModel], made once: with the race detector that takes longer than most sets.
var oneModel = sync.OnceValue(DefaultModel)

func mustBuild(t testing.TB, literals []Literal, o Options) []byte {
	t.Helper()
	if o.Model == nil {
		o.Model = oneModel()
	}
	b, err := Build(literals, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The same literals give the same bytes, in whatever order and how often they are named.
func TestSameLiteralsSameBytes(t *testing.T) {
	literals, _ := mixture(1, 1)
	literals = append(literals, hostile(200)["all cases"]...)
	for i := range 50 {
		literals = append(literals, Literal{ID: uint32(i % 40), Bytes: []byte("one literal of many identifiers")})
	}
	want := mustBuild(t, literals, Options{})
	r := random(3)
	for range 5 {
		r.Shuffle(len(literals), func(i, j int) { literals[i], literals[j] = literals[j], literals[i] })
		if !bytes.Equal(mustBuild(t, append(literals, literals[:10]...), Options{}), want) {
			t.Fatal("another order gave another set")
		}
	}
	// Case means nothing to a literal without case, and the lack of it nothing to one without letters.
	a := mustBuild(t, []Literal{{ID: 1, Bytes: []byte("One Literal Of Them"), NoCase: true}, {ID: 2, Bytes: []byte("0123456789 []")}}, Options{})
	b := mustBuild(t, []Literal{{ID: 1, Bytes: []byte("oNE lITERAL oF tHEM"), NoCase: true}, {ID: 2, Bytes: []byte("0123456789 []"), NoCase: true}}, Options{})
	if !bytes.Equal(a, b) {
		t.Error("two spellings of the same literals gave two sets")
	}
}

// Building reads the literals and changes none of them.
func TestBuildLeavesLiteralsAlone(t *testing.T) {
	text := []byte("Some Literal Without Case")
	mustBuild(t, []Literal{{Bytes: text, NoCase: true}}, Options{})
	if string(text) != "Some Literal Without Case" {
		t.Errorf("it is %q now", text)
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, literals := range map[string][]Literal{
		"an empty one":  {{ID: 77}},
		"one byte":      {{ID: 77, Bytes: []byte("x")}},
		"one too long":  {{ID: 77, Bytes: make([]byte, MaxLiteral+1)}},
		"one among two": {{Bytes: []byte("good")}, {ID: 77, Bytes: []byte("x")}},
	} {
		if b, err := Build(literals, Options{}); err == nil || b != nil || !strings.Contains(err.Error(), "77") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b, err := Build(make([]Literal, 1), Options{}); err == nil || b != nil {
		t.Error("the zero literal was taken")
	}
	many := make([]Literal, MaxLiterals+1)
	for i := range many {
		many[i].Bytes = []byte{byte(i), byte(i >> 8), byte(i >> 16)}
	}
	if _, err := Build(many, Options{}); err == nil || !strings.Contains(err.Error(), strconv.Itoa(MaxLiterals)) {
		t.Errorf("%d literals: %v", len(many), err)
	}
}

// The longest literal that is allowed is found.
func TestLongestLiteral(t *testing.T) {
	long := randomBytes(random(8), MaxLiteral)
	c := mustOpen(t, []Literal{{ID: 1, Bytes: long}, {ID: 2, Bytes: long[:MaxLiteral-1]}, {ID: 3, Bytes: long[1:]}}, Options{}).NewScanner()
	text := slices.Concat(long, long[:MaxLiteral-1], long)
	for _, size := range []int{1, 1000, MaxLiteral, 1 << 20} {
		if got := scanAll(c, text, func(left int) int { return min(left, size) }); len(got) != 7 {
			t.Errorf("blocks of %d: %d hits, want 7", size, len(got))
		}
	}
}

// A set that was built with another one to reuse keeps the windows, finds the same, and is the same if nothing changed.
func TestReuse(t *testing.T) {
	literals, text := mixture(1, 1<<18)
	old := mustBuild(t, literals, Options{})
	s, err := Open(old)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(mustBuild(t, literals, Options{Reuse: s}), old) {
		t.Error("the same literals with themselves reused gave another set")
	}
	// A window that the choice would never take shows that it is kept: at 14 this literal is all spaces.
	spaces := Literal{ID: 900, Bytes: []byte("rare#words+here" + strings.Repeat(" ", 30))}
	with := mustBuild(t, append(slices.Clone(literals), spaces), Options{})
	moved := slices.Clone(with)
	s, err = Open(moved)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.counts.literals {
		if l := s.literal(i); l.size == 45 && s.content(&l)[44] == ' '^hidden && s.content(&l)[0] == 'r'^hidden {
			if l.window > 14 {
				t.Fatal("the model prefers spaces")
			}
			moved[setHead+int(i)*literalSize+14] = 30
		}
	}
	literals = append(literals[10:], spaces, Literal{ID: 901, Bytes: []byte("something that is new")})
	b := mustBuild(t, literals, Options{Reuse: s})
	kept := false
	if s, err = Open(b); err != nil {
		t.Fatal(err)
	}
	for i := range s.counts.literals {
		l := s.literal(i)
		kept = kept || l.window == 30 && l.size == 45
	}
	if !kept {
		t.Error("a window was chosen anew")
	}
	text = append(text, "rare#words+here"+strings.Repeat(" ", 40)...)
	got := scanAll(s.NewScanner(), text, whole)
	sortHits(got)
	if want := naive(text, literals); !slices.Equal(got, want) {
		t.Errorf("%d hits, want %d", len(got), len(want))
	}
}

// No literal stands in a set as it is: no other engine takes the set for what it finds.
func TestLiteralsAreHidden(t *testing.T) {
	literals, _ := mixture(1, 1)
	b := mustBuild(t, append(literals, hostile(300)["one gram, random on both sides"]...), Options{})
	for _, l := range literals {
		if len(l.Bytes) >= 6 && bytes.Contains(b, l.Bytes) {
			t.Errorf("%q stands in the set", l.Bytes)
		}
	}
}

// small has all that a set can have, in few bytes: tiers, folded grams, trees of several levels, crowded lines, several identifiers.
func small(t testing.TB) ([]byte, []Literal, []byte) {
	var literals []Literal
	for _, name := range []string{"one gram, random on both sides", "all cases", "short ones", "runs of all lengths and a tail", "one window at each offset"} {
		literals = append(literals, hostile(10)[name]...)
	}
	literals = append(literals, Literal{ID: 99, Bytes: []byte("Short"), NoCase: true}, Literal{ID: 98, Bytes: []byte("short"), NoCase: true})
	var text []byte
	for _, l := range literals {
		text = append(text, l.Bytes...)
	}
	b, err := build(literals, Options{}, tiers(usual()))
	if err != nil {
		t.Fatal(err)
	}
	return b, literals, text
}

// tiers has a set use these tiers, whatever they cost.
func tiers(use tiersInUse) func([]entry, *Model) tiersInUse {
	return func([]entry, *Model) tiersInUse { return use }
}

// scanHostile scans with a set that may be damaged: it must end, and tell of nothing outside of the text.
func scanHostile(t testing.TB, s *Set, text []byte) {
	t.Helper()
	n := 0
	hit := func(h Hit) bool {
		if h.At < 0 || h.At >= int64(len(text)) {
			t.Fatalf("a hit at %d of %d", h.At, len(text))
		}
		n++
		return n < 1<<20
	}
	c := s.NewScanner()
	if c.Scan(text[:len(text)/3], hit) && c.Scan(text[len(text)/3:], hit) {
		c.Finish(hit)
	}
}

// Whatever byte of a set is changed, it is refused or can be scanned with. What leads somewhere is refused unless it still leads where it may.
func TestFlippedBytes(t *testing.T) {
	b, literals, text := small(t)
	s, err := Open(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(scanAll(s.NewScanner(), text, whole)), len(naive(text, literals)); got != want || len(s.tiers) < 4 {
		t.Fatalf("%d hits, want %d; %d tiers", got, want, len(s.tiers))
	}
	accepted := 0
	for i := range b {
		for _, bit := range []byte{1 << (i % 8), 0xff}[i/8%2:][:1] {
			bad := slices.Clone(b)
			bad[i] ^= bit
			s, err := Open(bad)
			switch {
			case err == nil && i < setHead:
				t.Errorf("byte %d of the header flipped by %#x: accepted", i, bit)
			case err == nil:
				accepted++
				scanHostile(t, s, text)
			case s != nil || !errors.Is(err, ErrFormat):
				t.Fatalf("byte %d: %v, %v", i, s, err)
			}
		}
	}
	if accepted == 0 || accepted > 3*len(b)/4 {
		t.Errorf("%d of %d changes accepted", accepted, len(b))
	}
}

// Several bytes changed at once find the checks that one hides from another.
func TestManyFlippedBytes(t *testing.T) {
	b, _, text := small(t)
	r := random(6)
	for range 3000 {
		bad := slices.Clone(b)
		for range 1 + r.IntN(4) {
			bad[setHead+r.IntN(len(b)-setHead)] = byte(r.Uint32())
		}
		if s, err := Open(bad); err == nil {
			scanHostile(t, s, text)
		}
	}
}

func TestCutAndLongerSets(t *testing.T) {
	b, _, _ := small(t)
	for n := range b {
		if n%7 == 0 || n < 600 {
			if s, err := Open(b[:n:n]); s != nil || !errors.Is(err, ErrFormat) {
				t.Fatalf("%d of %d bytes: %v", n, len(b), err)
			}
		}
	}
	if _, err := Open(append(slices.Clone(b), make([]byte, align)...)); !errors.Is(err, ErrFormat) {
		t.Errorf("with 64 bytes more: %v", err)
	}
}

// A header that counts gigabytes costs nothing: lengths are compared before anything is made.
func TestHugeCounts(t *testing.T) {
	b, _, _ := small(t)
	for at := 16; at < setHead; at += 4 {
		for _, v := range []byte{0x7f, 0xff} {
			bad := slices.Clone(b)
			copy(bad[at:], []byte{v, 0xff, 0xff, v})
			if _, err := Open(bad); !errors.Is(err, ErrFormat) {
				t.Errorf("count at %d: %v", at, err)
			}
		}
	}
}

// The dump in the format page is the set of its example.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("../docs/format/prefilter.md")
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Repeat([]byte{0}, 0)
	for _, m := range regexp.MustCompile(`(?m)^    ([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)`).FindAllStringSubmatch(string(page), -1) {
		at, err := strconv.ParseUint(m[1], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		line, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil || int(at) < len(got) {
			t.Fatalf("%q: %v", m[0], err)
		}
		got = append(got, make([]byte, int(at)-len(got))...) // lines of zeros are left out
		got = append(got, line...)
	}
	want := mustBuild(t, []Literal{{ID: 0x11223344, Bytes: []byte("Avdb")}}, Options{})
	got = append(got, make([]byte, max(0, len(want)-len(got)))...)
	if !bytes.Equal(got, want) {
		t.Errorf("the page has\n%swant\n%s", hex.Dump(got), hex.Dump(want))
	}
}

// A filter may say yes to anything, and the hits are the same: it only saves work.
func TestFullFilter(t *testing.T) {
	b, literals, text := small(t)
	s, err := Open(b)
	if err != nil {
		t.Fatal(err)
	}
	s.load()
	for _, tier := range s.tiers {
		clear(tier.words)
	}
	got := scanAll(s.NewScanner(), text, whole)
	sortHits(got)
	if want := naive(text, literals); !slices.Equal(got, want) {
		t.Errorf("%d hits, want %d", len(got), len(want))
	}
}

// A model that knows nothing is made at once, which the default one is not.
func ignorant() Options { return Options{Model: &Model{keys: make([]uint32, 2)}} }

// FuzzOpen takes its input for a set, or for changes of one that has everything: a place in two bytes, and what is there then.
func FuzzOpen(f *testing.F) {
	good, _, text := small(f)
	f.Add([]byte{}, true)
	f.Add([]byte{0x40, 1, 7, 0x44, 1, 2}, true)
	f.Add(mustBuild(f, nil, ignorant()), false)
	f.Fuzz(func(t *testing.T, b []byte, changes bool) {
		if changes {
			set := slices.Clone(good)
			for ; len(b) >= 3; b = b[3:] {
				set[int(load16(b))%len(set)] = b[2]
			}
			b = set
		}
		s, err := Open(b)
		if err != nil {
			if s != nil || !errors.Is(err, ErrFormat) {
				t.Fatalf("%v, %v", s, err)
			}
			return
		}
		if s.Size() != len(b) || string(s.counts.header()) != string(b[:setHead]) {
			t.Fatal("a set is not the size that it is")
		}
		scanHostile(t, s, text)
		// What was opened can be reused, whatever it holds.
		if _, err := Build([]Literal{{Bytes: []byte("short")}, {Bytes: text[:30]}}, Options{Model: ignorant().Model, Reuse: s}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzScan makes literals and text of its input and compares the hits with those of a naive search.
func FuzzScan(f *testing.F) {
	f.Add([]byte("\x05short\x14one that is of twenty"), []byte("a short one that is of twenty bytes"), uint8(7))
	f.Add([]byte("\x82aA\x0f\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), make([]byte, 50), uint8(1))
	f.Fuzz(func(t *testing.T, from, text []byte, size uint8) {
		var literals []Literal
		for len(from) > 0 && len(literals) < 100 {
			n := min(int(from[0]&0x7f), len(from)-1)
			l := Literal{ID: uint32(len(literals)), Bytes: from[1 : 1+n], NoCase: from[0]&0x80 != 0}
			from = from[1+n:]
			if n >= MinLiteral {
				literals = append(literals, l)
			}
		}
		text = text[:min(len(text), 5000)]
		for _, l := range literals { // the literals themselves are a better text than most
			text = append(text, l.Bytes...)
		}
		s := mustOpen(t, literals, ignorant())
		got := scanAll(s.NewScanner(), text, func(left int) int { return min(left, 1+int(size)) })
		sortHits(got)
		if want := naive(text, literals); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// Example is the whole way from literals to hits.
func Example() {
	b, err := Build([]Literal{{ID: 1, Bytes: []byte("needle in a haystack")}}, Options{})
	if err != nil {
		panic(err)
	}
	s, err := Open(b) // b may have been a file in between
	if err != nil {
		panic(err)
	}
	c := s.NewScanner()
	hit := func(h Hit) bool {
		os.Stdout.WriteString("literal " + strconv.Itoa(int(h.ID)) + " at " + strconv.Itoa(int(h.At)) + "\n")
		return true
	}
	c.Scan([]byte("there is a needle in a hay"), hit)
	c.Scan([]byte("stack of many blocks"), hit)
	c.Finish(hit)
	// Output: literal 1 at 11
}
