package patterns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/pattern"
)

func mustBuild(t testing.TB, all []pattern.Record) *Set {
	t.Helper()
	return mustOpen(t, mustCompile(t, encode(t, all), Options{}))
}

// buildWith is mustBuild with so many offsets that are tested whatever stands there: a few signatures do not have as many as a set may.
func buildWith(t testing.TB, all []pattern.Record, offsets int) *Set {
	t.Helper()
	b, err := compile(encode(t, all), Options{Model: oneModel()}, offsets)
	if err != nil {
		t.Fatal(err)
	}
	return mustOpen(t, b)
}

// scan scans an object in blocks of the sizes that size gives.
func scan(t testing.TB, c *Scanner, o Object, data []byte, r io.ReaderAt, size func() int) Result {
	t.Helper()
	c.Begin(o)
	for left := data; len(left) > 0; {
		// Each block is a copy that is spoilt afterwards: a scanner keeps nothing of it.
		b := bytes.Clone(left[:min(len(left), size())])
		c.Write(b)
		for i := range b {
			b[i] = 0xee
		}
		left = left[len(b):]
	}
	got, err := c.End(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func whole() int { return 1 << 30 }

// reference is what package pattern says.
func reference(all []pattern.Record, o Object, data []byte) []int {
	f := &pattern.File{Data: data, Facts: facts(&o, nil)}
	var matched []int
	for i, r := range all {
		var ok bool
		if r.Body != nil {
			ok = r.Body.Match(f)
		} else {
			ok, _ = r.Logical.Match(f)
		}
		if ok {
			matched = append(matched, i)
		}
	}
	return matched
}

func text(r pattern.Record) string {
	if r.Body != nil {
		return r.Body.String()
	}
	return r.Logical.String()
}

// check scans an object and holds the result against the reference's. It gives the number of matches.
func check(t testing.TB, c *Scanner, all []pattern.Record, o Object, data []byte, size func() int) int {
	t.Helper()
	got := scan(t, c, o, data, bytes.NewReader(data), size)
	want := reference(all, o, data)
	if !slices.Equal(got.Matched, want) || got.Undecided != nil || got.Limited {
		for i, r := range all {
			if slices.Contains(got.Matched, i) != slices.Contains(want, i) {
				t.Errorf("signature %d: %s", i, text(r))
			}
		}
		t.Fatalf("%v, undecided %v, limited %v; want %v in %+v\n%q", got.Matched, got.Undecided, got.Limited, want, o, data)
	}
	return len(want)
}

func targets() []pattern.Target {
	return []pattern.Target{pattern.TargetAny, pattern.TargetPE, pattern.TargetELF, pattern.TargetOLE2}
}

// Whatever the signatures, the object and the sizes of blocks are: the verdicts are those of the reference matcher.
func TestScansAgreeWithTheReference(t *testing.T) {
	hits, misses := 0, 0
	for seed := range uint64(rounds) {
		w := newWriter(seed)
		target := targets()[w.IntN(4)]
		all := w.records(target, 1+w.IntN(12))
		c := buildWith(t, all, w.IntN(3)).NewScanner()
		for range 4 {
			data := w.object(all, 1+w.IntN(800))
			if w.IntN(6) == 0 {
				data = w.object(all, 1000+w.IntN(4000))
			}
			o := w.facts(target, len(data))
			n := check(t, c, all, o, data, whole)
			hits, misses = hits+n, misses+len(all)-n
			most := 1 + w.IntN(1+w.IntN(3000))
			check(t, c, all, o, data, func() int { return 1 + w.IntN(most) })
		}
	}
	t.Logf("%d signatures matched, %d did not", hits, misses)
	if hits < 4*rounds || misses < 4*rounds {
		t.Errorf("%d matched, %d did not: the objects test little", hits, misses)
	}
}

// Cut anywhere, an object has the same matches: also where blocks are much longer than what a verification looks at.
func TestBlocksMakeNoDifference(t *testing.T) {
	for seed := range uint64(rounds / 10) {
		w := newWriter(1000 + seed)
		all := w.records(pattern.TargetPE, 20)
		s := mustBuild(t, all)
		c := s.NewScanner()
		data := w.object(all, 20000+w.IntN(200000))
		o := w.facts(pattern.TargetPE, len(data))
		want := scan(t, c, o, data, bytes.NewReader(data), whole)
		want.Matched = slices.Clone(want.Matched)
		around := int(s.history + s.ahead)
		for _, size := range []func() int{
			func() int { return 1 + w.IntN(40000) },
			func() int { return around - 1 + w.IntN(3) },
			func() int { return 1 + w.IntN(3)*around },
			func() int { return 65536 },
			func() int { return 1 + w.IntN(7) },
		} {
			got := scan(t, c, o, data, bytes.NewReader(data), size)
			if !slices.Equal(got.Matched, want.Matched) || got.Undecided != nil {
				t.Fatalf("seed %d: %v, undecided %v; in one block %v", seed, got.Matched, got.Undecided, want.Matched)
			}
		}
	}
}

// A scanner that gives up all chains at once finds the same, by reading again, however much it reads at once.
func TestMatchingAgainAgreesWithTheReference(t *testing.T) {
	hits, lost := 0, 0
	for seed := range uint64(rounds) {
		w := newWriter(2000 + seed)
		target := targets()[w.IntN(4)]
		all := w.records(target, 1+w.IntN(8))
		c := buildWith(t, all, w.IntN(3)).NewScanner()
		data := w.object(all, 1+w.IntN(1500))
		o := w.facts(target, len(data))
		if w.IntN(3) > 0 {
			c.reading.buffer = make([]byte, int(c.set.history+c.set.ahead)+1+w.IntN(100))
		}
		c.Begin(o)
		half := w.IntN(len(data) + 1)
		c.Write(data[:half])
		for _, s := range c.active {
			for n := range s.rows(sectionChains) - 1 {
				if w.IntN(3) > 0 {
					s.lose(n)
					lost++
				}
			}
		}
		c.Write(data[half:])
		got, err := c.End(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if want := reference(all, o, data); !slices.Equal(got.Matched, want) || got.Undecided != nil {
			t.Fatalf("seed %d: %v, undecided %v; want %v", seed, got.Matched, got.Undecided, want)
		}
		hits += len(got.Matched)
	}
	if hits < rounds || lost < rounds {
		t.Errorf("%d hits, %d chains: the objects test little", hits, lost)
	}
}

// However many anchors a start has before it, and in how many forms it matches: it counts once.
func TestStartsCountOnce(t *testing.T) {
	// The wide form and the plain one start at the same place.
	both := strings.Repeat("x\x00", 5) + "\x71\x00\x82\x00\x93\x00\xa4\x00\xb5\x00" + "\x71\x00\x00\x00\x82\x00\x00\x00\x93\x00\x00\x00\xa4\x00\x00\x00\xb5\x00"
	for _, sub := range []string{"(61|616261|6162616261)62616261626162616261", strings.Repeat("??", 10) + "710082009300a400b5::wa", "(61|6162)6162616261626162616261626162*6262"} {
		var all []pattern.Record
		for n := range 60 {
			all = append(all, logical(t, fmt.Sprintf("Target:2;0=%d;%s", n, sub)))
		}
		c := mustBuild(t, all).NewScanner()
		for _, data := range []string{strings.Repeat("ab", 40), strings.Repeat(both, 3), strings.Repeat("ab", 25) + "bbbb"} {
			o := newWriter(1).facts(pattern.TargetOLE2, len(data))
			if n := check(t, c, all, o, []byte(data), whole); n != 1 {
				t.Errorf("%s in %q: %d numbers", sub, data, n)
			}
		}
	}
}

// A part that is tested at several places is known as late as the last of them; the part behind it may have been found before, in the block before.
func TestChainsBeginInRangesThatABlockCuts(t *testing.T) {
	const at = 5000
	all := []pattern.Record{body(t, "0:5000,60:6162{1-20}636465666768696a6b6c")}
	s := mustBuild(t, all)
	c := s.NewScanner()
	data := bytes.Repeat([]byte("."), 2*at)
	copy(data[at:], "ab..cdefghijkl")
	for first := at; first < at+int(s.ahead)+100; first++ {
		sizes := []int{first, len(data)}
		if n := check(t, c, all, Object{Size: int64(len(data))}, data, func() (n int) {
			n, sizes = sizes[0], sizes[1:]
			return n
		}); n != 1 {
			t.Fatalf("a first block of %d bytes: %d matches", first, n)
		}
	}
}

func logical(t testing.TB, line string) pattern.Record {
	t.Helper()
	_, l, err := pattern.ParseLogicalLine("A;" + line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return pattern.Record{Logical: &l}
}

func body(t testing.TB, line string) pattern.Record {
	t.Helper()
	_, b, err := pattern.ParseBodyLine("A:" + line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return pattern.Record{Body: &b}
}

// What is asked about an object beside its bytes is asked, and signatures of other targets and for other engines do not match.
func TestFactsDecide(t *testing.T) {
	all := []pattern.Record{
		logical(t, "Target:0;0;6162636465"),
		logical(t, "Target:1;0;6162636465"),
		logical(t, "Target:6;0;6162636465"),
		logical(t, "Engine:51-255,FileSize:0-4,Target:0;0;6162636465"),
		logical(t, "Engine:51-255,Container:CL_TYPE_ZIP,Target:0;0;6162636465"),
		logical(t, "Target:0;0=0;7a7a7a7a7a"),
		logical(t, "Engine:51-255,NumberOfSections:2-2,Target:1;0;6162636465"),
	}
	other := logical(t, "Engine:51-255,Target:0;0;6162636465")
	other.Logical.Engine.Max = uint32(pattern.Level) - 1
	all = append(all, other)
	c := mustBuild(t, all).NewScanner()
	w := newWriter(1)
	data := []byte("..abcde..")
	for _, target := range targets() {
		for range 20 {
			check(t, c, all[:len(all)-1], w.facts(target, len(data)), data, whole)
		}
	}
	if c.set.Len() != len(all) {
		t.Errorf("%d records, want %d", c.set.Len(), len(all))
	}
}

func TestBrokenRecordsAreNamed(t *testing.T) {
	good := encode(t, []pattern.Record{body(t, "0:*:616263")})
	if _, err := Build([][]byte{good[0], good[0][:3]}, Options{}); err == nil || !bytes.Contains([]byte(err.Error()), []byte("signature 1")) {
		t.Errorf("a cut record: %v", err)
	}
}

// An object that is not as long as it was said to be has no result, and the scanner goes on with the next one.
func TestObjectsOfAnotherSizeAreAnError(t *testing.T) {
	all := []pattern.Record{body(t, "0:EOF-3:616263"), body(t, "0:0:616263"), body(t, "0:*:616263*6465")}
	c := mustBuild(t, all).NewScanner()
	for _, said := range []int64{0, 3, 5, 7, 1 << 40} {
		c.Begin(Object{Size: said})
		c.Write([]byte("abcabc"))
		if r, err := c.End(nil); !errors.Is(err, ErrSize) || r.Matched != nil {
			t.Errorf("%d bytes said: %v, %v", said, r, err)
		}
	}
	check(t, c, all, Object{Size: 6}, []byte("abcabc"), whole)
}

// A set of nothing matches nothing, and an empty object what asks for nothing.
func TestNothing(t *testing.T) {
	c := mustBuild(t, nil).NewScanner()
	check(t, c, nil, Object{Size: 5}, []byte("bytes"), whole)
	all := []pattern.Record{logical(t, "Target:0;0=0;616263"), body(t, "0:0:616263"), body(t, "0:EOF-0:616263")}
	c = mustBuild(t, all).NewScanner()
	if n := check(t, c, all, Object{}, nil, whole); n != 1 {
		t.Errorf("%d signatures match an empty object, want 1", n)
	}
}

func TestCleanObjectsCostNoMemory(t *testing.T) {
	w := newWriter(3)
	w.Alphabet = "\x90\x00\xcc"
	all := w.records(pattern.TargetPE, 200)
	c := mustBuild(t, all).NewScanner()
	data := bytes.Repeat([]byte("nothing that anyone looks for, says this text. "), 10000)
	o := w.facts(pattern.TargetPE, len(data))
	run := func() {
		c.Begin(o)
		for left := data; len(left) > 0; left = left[min(len(left), 256<<10):] {
			c.Write(left[:min(len(left), 256<<10)])
		}
		if _, err := c.End(nil); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(5, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
