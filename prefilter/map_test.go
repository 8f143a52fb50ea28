package prefilter

import (
	"errors"
	"runtime"
	"slices"
	"testing"
)

// scanDamaged scans with a mapped set that may be damaged. It may panic as the documentation of Map says, and in no other way.
func scanDamaged(t testing.TB, s *Set, text []byte) (intact bool) {
	t.Helper()
	var c *Scanner
	defer func() {
		if c != nil && cap(c.found) > 2*(batch+s.Size()) {
			t.Errorf("a set of %d bytes made room for %d postings", s.Size(), cap(c.found))
		}
		switch err, _ := recover().(error); {
		case intact:
		case errors.Is(err, ErrFormat):
		case !errors.As(err, new(runtime.Error)):
			t.Errorf("a damaged set ended a scan with %v", err)
		}
	}()
	hits := 0
	hit := func(h Hit) bool {
		if h.At < 0 || h.At >= int64(len(text)) {
			t.Errorf("a hit at %d of %d", h.At, len(text))
		}
		hits++
		return hits < 1<<20
	}
	c = s.NewScanner()
	if c.Scan(text[:len(text)/3], hit) && c.Scan(text[len(text)/3:], hit) {
		c.Finish(hit)
	}
	return true
}

// A mapped set finds what an opened one does.
func TestMap(t *testing.T) {
	b, literals, text := small(t)
	s, err := Map(b)
	if err != nil {
		t.Fatal(err)
	}
	got := scanAll(s.NewScanner(), text, whole)
	sortHits(got)
	if want := naive(text, literals); !slices.Equal(got, want) {
		t.Errorf("%d hits, want %d", len(got), len(want))
	}
	for n := range setHead + 1 {
		if s, err := Map(b[:n:n]); s != nil || !errors.Is(err, ErrFormat) {
			t.Errorf("%d of %d bytes: %v", n, len(b), err)
		}
	}
	for i := range setHead {
		bad := slices.Clone(b)
		bad[i] ^= 1 << (i % 8)
		switch s, err := Map(bad); {
		case err == nil: // one more or less where the padding hides it
			scanDamaged(t, s, text)
		case s != nil || !errors.Is(err, ErrFormat):
			t.Errorf("byte %d of the header flipped: %v", i, err)
		}
	}
}

// Of a damaged set that was mapped a scan ends, and nothing is told that is outside of the stream.
func TestDamagedMap(t *testing.T) {
	good, _, text := small(t)
	r := random(9)
	panics := 0
	for i := range 6000 {
		bad := slices.Clone(good)
		for range 1 + r.IntN(8) {
			at := setHead + r.IntN(len(bad)-setHead)
			bad[at] = [...]byte{0, 1, 0xff, bad[at] ^ 1<<r.IntN(8), byte(i)}[r.IntN(5)]
		}
		s, err := Map(bad)
		if err != nil {
			t.Fatal(err)
		}
		if !scanDamaged(t, s, text) {
			panics++
		}
	}
	if panics == 0 {
		t.Error("no damage was noticed: the test changes nothing of meaning")
	}
}

// deep is a set with a tree of several levels, and a text that goes to its leaves.
func deep(t testing.TB) (set *Set, text []byte) {
	literals := hostile(3000)["runs of all lengths and a tail"]
	s, err := Map(mustBuild(t, literals, ignorant()))
	if err != nil {
		t.Fatal(err)
	}
	return s, literals[len(literals)-1].Bytes
}

// A tree in which a node leads back, to itself, or to one that others lead to as well ends a scan and does not keep it: with two ways from each
// node to the next there are more walks than a computer can make.
func TestTreesWithoutAnEnd(t *testing.T) {
	for name, under := range map[string]func(node, last uint32) uint32{
		"back to the root": func(_, _ uint32) uint32 { return 0 },
		"to itself":        func(node, _ uint32) uint32 { return node },
		"beyond the end":   func(_, last uint32) uint32 { return last },
		"far beyond it":    func(_, _ uint32) uint32 { return 1<<32 - 1 },
	} {
		s, text := deep(t)
		nodes := s.tiers[0].nodes
		put := func(at int, v uint32) {
			copy(nodes[4*at:], []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
		}
		changed := 0
		for at := 0; at < len(nodes)/4; {
			node, head := at, load32(nodes[4*at:])
			at++
			if head&0xff == kindLeaf {
				at += int(head >> 8)
				continue
			}
			for range head >> 8 {
				keys := int(load32(nodes[4*at+4:]))
				for at += 2; keys > 0; keys-- {
					put(at+2, under(uint32(node), uint32(len(nodes)/4)))
					at += keySize / 4
					changed++
				}
			}
		}
		if changed < 1000 {
			t.Fatalf("the tree names %d nodes only", changed)
		}
		if scanDamaged(t, s, text) {
			t.Errorf("%s: a scan through the tree ended as if nothing were wrong", name)
		}
	}
	// Each node has two classes of no bytes at all, and both lead to the next node.
	s, text := deep(t)
	words := make([]uint32, len(s.tiers[0].nodes)/4)
	const size = 11
	for at := 0; at+2*size <= len(words); at += size {
		copy(words[at:], []uint32{kindSides | 2<<8, 0, 1, uint32(hiddenAll & 0xffffffff), hiddenAll >> 32, uint32(at + size), 0, 1, uint32(hiddenAll & 0xffffffff), hiddenAll >> 32, uint32(at + size)})
	}
	for i, w := range words {
		copy(s.tiers[0].nodes[4*i:], []byte{byte(w), byte(w >> 8), byte(w >> 16), byte(w >> 24)})
	}
	if scanDamaged(t, s, text) {
		t.Error("two ways from each node: a scan through the tree ended as if nothing were wrong")
	}
}

// A set that was mapped is checked before its windows are reused.
func TestReuseOfADamagedMap(t *testing.T) {
	b, literals, _ := small(t)
	b[setHead+14] = 0xff // the window of the first literal
	s, err := Map(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Build(literals, Options{Reuse: s}); !errors.Is(err, ErrFormat) {
		t.Errorf("building with a damaged set: %v", err)
	}
}

// FuzzMap takes its input for changes of a good set behind its header, as FuzzOpen does, and scans with what comes out.
func FuzzMap(f *testing.F) {
	good, _, text := small(f)
	f.Add([]byte{})
	f.Add([]byte{0x40, 2, 7, 0x44, 3, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		set := slices.Clone(good)
		for ; len(b) >= 3; b = b[3:] {
			set[setHead+int(load16(b))%(len(set)-setHead)] = b[2]
		}
		s, err := Map(set)
		if err != nil {
			t.Fatalf("the header is as it was: %v", err)
		}
		scanDamaged(t, s, text)
	})
}
