package matcher

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"example.org/avdb/dbformat"
)

func sortedKeys(n int, p uint8, key func() uint64) []uint64 {
	keys := make([]uint64, n)
	for i := range keys {
		keys[i] = key() &^ (1<<(64-p) - 1)
	}
	slices.Sort(keys)
	return keys
}

func writeLines(t testing.TB, keys []uint64, p uint8) []byte {
	t.Helper()
	b := make([]byte, int(lineCount(uint64(len(keys))))*lineSize)
	w := newLineWriter(b, p)
	for _, k := range keys {
		if err := w.add(k); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.finish(uint64(len(keys))); err != nil {
		t.Fatal(err)
	}
	return b
}

// Each row must be found at its number by its tag, or stand behind an overflowed line.
func TestLinesLeadToEveryRow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, key := range map[string]func() uint64{
		"random":     rng.Uint64,
		"one value":  func() uint64 { return 1 << 60 },
		"low half":   func() uint64 { return rng.Uint64() >> 1 },
		"one bucket": func() uint64 { return rng.Uint64() >> 20 },
		"all ones":   func() uint64 { return rng.Uint64() | 0xffff_ffff_f000_0000 },
	} {
		for _, n := range []int{1, 2, 19, 20, 21, 30, 31, 600, 20_000} {
			for _, p := range []uint8{8, 16, 24, 44, 64} {
				keys := sortedKeys(n, p, key)
				b := writeLines(t, keys, p)
				for row, k := range keys {
					l := (*line)(b[int(bucketOf(k, lineCount(uint64(n))))*lineSize:])
					tag := tagOf(k, p)
					place := row - int(firstRow(l))
					switch {
					case !mayHold(l, tag):
						t.Fatalf("%s, %d rows of %d bits: row %d is denied by its line", name, n, p, row)
					case place < 0:
						t.Fatalf("%s, %d rows of %d bits: row %d stands before its line's first row", name, n, p, row)
					case overflowed(l) && place >= lineTags-1:
					case place >= lineTags || tagAt(l, place) != tag:
						t.Fatalf("%s, %d rows of %d bits: row %d is not at place %d", name, n, p, row, place)
					}
				}
			}
		}
	}
}

// A filter that says yes to everything would pass the test above.
func TestLinesDenyStrangers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const n, p, asked = 50_000, 40, 200_000
	b := writeLines(t, sortedKeys(n, p, rng.Uint64), p)
	over, held := 0, 0
	for range asked {
		k := keyOf(binary.BigEndian.AppendUint64(nil, rng.Uint64()), p)
		l := (*line)(b[int(bucketOf(k, lineCount(n)))*lineSize:])
		switch {
		case overflowed(l):
			over++
		case mayHold(l, tagOf(k, p)):
			held++
		}
	}
	if held > asked/1000 || over > asked/40 {
		t.Fatalf("%d of %d strangers have a tag in their line (want under 0.1 %%), %d meet an overflowed one (want under 2.5 %%)", held, asked, over)
	}
}

func TestTagsAreNoMarks(t *testing.T) {
	seen := map[uint16]bool{}
	for v := range uint64(1 << 16) {
		tag := tagOf(v<<48, 16)
		if tag == tagNone || tag == tagOverflow {
			t.Fatalf("tag of %#x is the mark %#x", v, tag)
		}
		seen[tag] = true
	}
	if len(seen) != 0xfffe {
		t.Fatalf("%d different tags, want %d", len(seen), 0xfffe)
	}
}

// mayHold works on four tags at a time; tag by tag it must come to the same, but for the
// overflow mark.
func TestWordsAgreeWithTags(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200_000 {
		var l line
		for i := range l {
			l[i] = byte(rng.Uint32N(3)) - 1 // many equal and neighbouring tags
		}
		tag := uint16(1 + rng.Uint32N(0xfffe))
		if rng.IntN(2) == 0 {
			tag = max(1, min(0xfffe, tagAt(&l, rng.IntN(lineTags))+uint16(rng.IntN(3))-1))
		}
		want := overflowed(&l)
		for i := range lineTags {
			want = want || tagAt(&l, i) == tag
		}
		if got := mayHold(&l, tag); got != want {
			t.Fatalf("mayHold(% x, %#x) = %t, want %t", l, tag, got, want)
		}
	}
}

func TestLineWriterRefusesWhatWouldHideRows(t *testing.T) {
	for name, c := range map[string]struct {
		keys []uint64
		rows uint64
	}{
		"keys that descend": {[]uint64{5 << 40, 4 << 40}, 2},
		"too many rows":     {make([]uint64, 21), 20},
		"too few rows":      {[]uint64{1 << 40}, 2},
	} {
		w := newLineWriter(make([]byte, int(lineCount(c.rows))*lineSize), 40)
		var err error
		for _, k := range c.keys {
			if err = w.add(k); err != nil {
				break
			}
		}
		if err == nil {
			err = w.finish(c.rows)
		}
		if !errors.Is(err, dbformat.ErrCorrupt) {
			t.Errorf("%s: error %v, want one that matches ErrCorrupt", name, err)
		}
	}
}

func TestLinesAreDeterministic(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	keys := sortedKeys(5000, 36, rng.Uint64)
	if !bytes.Equal(writeLines(t, keys, 36), writeLines(t, keys, 36)) {
		t.Fatal("the same rows gave different lines")
	}
}
