package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"example.org/avdb/archive"
)

// Two blocks of zeros end a tar file for some; others (tar --ignore-zeros, tapes) go on behind them, and tars that were put one behind the other are common.
func TestTheEndOfATarHidesNothing(t *testing.T) {
	first, second := tarOf(t, file{"a", "alpha"}), tarOf(t, file{"b", "beta"})
	var many []byte
	var wantMany []string
	for range 100 {
		many = append(many, second...)
		wantMany = append(wantMany, `!b: "beta" ok`)
	}
	junk := []byte(random(3 * 512))
	broken := slices.Clone(second)
	broken[20] ^= 1
	for name, c := range map[string]struct {
		object []byte
		want   []string
	}{
		"two":               {slices.Concat(first, second), []string{`!a: "alpha" ok`, `!b: "beta" ok`}},
		"a record of zeros": {slices.Concat(first, make([]byte, 9<<10), second), []string{`!a: "alpha" ok`, `!b: "beta" ok`}},
		"more of them":      {slices.Concat(first, make([]byte, 200<<10), second), []string{`!a: "alpha" ok`, `!b: "beta" ok`}},
		"many":              {many, wantMany},
		"other bytes":       {slices.Concat(first, junk, second), []string{`!a: "alpha" ok`, `!b: "beta" ok`}},
		"a broken header":   {slices.Concat(first, broken, second), []string{`!a: "alpha" ok`, `!b: "beta" ok`}},
		"only zeros":        {slices.Concat(first, make([]byte, 1<<20)), []string{`!a: "alpha" ok`}},
		"only other bytes":  {slices.Concat(first, junk), []string{`!a: "alpha" ok`}},
		"less than a block": {slices.Concat(first, second[:511]), []string{`!a: "alpha" ok`}},
		"cut":               {slices.Concat(first, second[:514]), []string{`!a: "alpha" ok`, `!b: "be" damaged`, `: "" damaged`}},
	} {
		t.Run(name, func(t *testing.T) { wantLines(t, walk(t, c.object, archive.Limits{}), c.want...) })
	}
	lines := walk(t, many, archive.Limits{Members: 10})
	if e, ok := errors.AsType[*archive.LimitError](lines[len(lines)-1].err); !ok || e.Limit != archive.LimitMembers || len(lines) != 11 {
		t.Errorf("%d lines, the last is %s", len(lines), lines[len(lines)-1])
	}
}

// Each end is looked behind, and each look costs what is read for it: headers that make no member must not make it quadratic.
func TestManyEndsOfATarAreBounded(t *testing.T) {
	h := make([]byte, 512)
	copy(h, "pax")
	copy(h[124:], "00000000000\x00")
	h[156] = 'x'
	copy(h[257:], "ustar\x0000")
	seal(h)
	for _, zeros := range []int{1024, 2048, 40 << 10} {
		object := append(tarOf(t, file{"a", "alpha"}), bytes.Repeat(append(h[:512:512], make([]byte, zeros)...), 10<<20/zeros)...)
		w := newWalker(t, archive.Limits{}, len(object), nil)
		w.container("", bytes.NewReader(object), int64(len(object)))
		wantLines(t, w.lines, `!a: "alpha" ok`)
		if read := w.b.Spent().Read; read > 4*int64(len(object)) {
			t.Errorf("%d bytes were read of %d, with %d zeros between", read, len(object), zeros)
		}
	}
}

// seal gives a header of a tar file its checksum.
func seal(h []byte) {
	copy(h[148:], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
}
