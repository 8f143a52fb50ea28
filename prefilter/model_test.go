package prefilter

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestDefaultModelIsThere(t *testing.T) {
	m, err := ParseModel(defaultModel)
	if err != nil {
		t.Fatal(err)
	}
	if m.Grams() < 10000 || !bytes.Equal(m.Append(nil), defaultModel) {
		t.Errorf("%d grams", m.Grams())
	}
	word := func(s string) uint64 { return load64([]byte(s)) }
	rare := m.cost(word("\xe9\x17\xc3\x5a\x9d\x02\xf7\x6b"), 8)
	for _, common := range []string{"\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff", "        ", "\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc"} {
		if c := m.cost(word(common), 8); c < 100*rare {
			t.Errorf("%q costs %d, a random gram %d", common, c, rare)
		}
	}
}

// A literal's window lies where its bytes are rare: three of its bytes at most are common ones.
func TestWindowAvoidsWhatIsCommon(t *testing.T) {
	rare := "\xe9\x17\xc3\x5a\x9d\x02\xf7\x6b\x81\x44\xba\x0e\xd8\x33\x96\x21"
	for _, common := range []string{"\x00", "\x90", " ", "\xff"} {
		pad := string(bytes.Repeat([]byte(common), 40))
		s := mustOpen(t, []Literal{{Bytes: []byte(pad + rare + pad)}}, Options{})
		if l := s.literal(0); l.window < 37 || l.window > 44 {
			t.Errorf("in %q the window is at %d, want 37 to 44", common, l.window)
		}
	}
}

// A learner knows what is common in its samples, at the places where a scan looks, and a model of it has the most common grams.
func TestLearner(t *testing.T) {
	l := NewLearner()
	r := random(1)
	for i := range 1000 {
		sample := randomBytes(r, 512)
		copy(sample[64:], "common 1")
		if i%2 == 0 {
			copy(sample[128:], "common 2")
		}
		copy(sample[203:], "common 3") // never at a multiple of eight
		l.Add(sample)
	}
	grams := func(m *Model) (got []bool) {
		for _, g := range []string{"common 1", "common 2", "common 3"} {
			got = append(got, m.find(modelKey(load64([]byte(g)))) != 0)
		}
		return got
	}
	if got := grams(l.Model(10)); !slices.Equal(got, []bool{true, true, false}) {
		t.Errorf("with ten grams %v", got)
	}
	m := l.Model(1)
	if got := grams(m); !slices.Equal(got, []bool{true, false, false}) || m.Grams() != 1 {
		t.Errorf("with one gram %v of %d", got, m.Grams())
	}
	back, err := ParseModel(m.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		g := r.Uint64()
		if back.cost(g, 8) != m.cost(g, 8) || back.cost(g, 3) != m.cost(g, 3) {
			t.Fatalf("gram %x costs %d, %d before it was written down", g, back.cost(g, 8), m.cost(g, 8))
		}
	}
}

// What does not fit into a learner's memory is forgotten, and what is common is not.
func TestLearnerForgets(t *testing.T) {
	l := newLearner(1 << 14)
	r := random(2)
	sample := make([]byte, 1<<13)
	for l.dropped == 0 {
		for i := 0; i < len(sample); i += 8 {
			copy(sample[i:], randomBytes(r, 8))
		}
		copy(sample[512:], "stays here")
		l.Add(sample)
	}
	if m := l.Model(100); m.Grams() != 1 || m.find(modelKey(load64([]byte("stays here")))) == 0 {
		t.Errorf("%d grams", m.Grams())
	}
}

func TestModelsWithoutSamples(t *testing.T) {
	m := NewLearner().Model(100)
	s := mustOpen(t, []Literal{{ID: 5, Bytes: []byte("with a model that knows nothing")}}, Options{Model: m})
	if got := scanAll(s.NewScanner(), []byte("with a model that knows nothing"), whole); len(got) != 1 {
		t.Error(got)
	}
}

func FuzzParseModel(f *testing.F) {
	l := NewLearner()
	l.Add(bytes.Repeat([]byte("a sample of some words. "), 10))
	good := l.Model(5).Append(nil)
	f.Add(slices.Concat(good[12:16], good[modelHead:]))
	f.Add(slices.Concat(good[12:16], good[modelHead:len(good)-1]))
	// What follows the tables is what can be wrong.
	head := slices.Clone(good[:modelHead])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4 {
			copy(head[12:16], b)
			b = slices.Concat(head, b[4:])
		}
		m, err := ParseModel(b)
		if err != nil {
			if m != nil || !errors.Is(err, ErrModel) {
				t.Fatalf("%v, %v", m, err)
			}
			return
		}
		if !bytes.Equal(m.Append(nil), b) {
			t.Fatal("a model has two encodings")
		}
	})
}

// Nothing that Build could look at in a literal costs less than what is called its rarest bytes, and common bytes cost more than random ones.
func TestTheRarestBytesCostLeast(t *testing.T) {
	m := DefaultModel()
	for size := MinLiteral; size < 60; size++ {
		literal := append(make([]byte, size/2), randomBytes(random(uint64(size)), size-size/2)...)
		at, n, cost := m.Rarest(literal)
		h := shapes()[usual().tierOf(size)]
		least := ^uint64(0)
		for from := range size - h.window() + 1 {
			sum := uint64(0)
			for i := range h.s {
				sum += m.cost(gramAt(literal, from+i, h.q), h.q)
			}
			if least = min(least, sum/uint64(h.s)); from == at && sum/uint64(h.s) != cost {
				t.Errorf("%d bytes: those at %d are said to cost %d, and cost %d", size, at, cost, sum/uint64(h.s))
			}
		}
		if n != h.window() || cost != least {
			t.Errorf("%d bytes: %d at %d cost %d, others %d", size, n, at, cost, least)
		}
		if _, _, zeros := m.Rarest(make([]byte, size)); zeros < cost {
			t.Errorf("%d zeros cost %d, random bytes %d", size, zeros, cost)
		}
	}
	if _, n, cost := m.Rarest([]byte("a")); n != 0 || cost != 1<<64-1 {
		t.Errorf("a byte alone has %d bytes that cost %d", n, cost)
	}
}
