package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	lines := walk(t, bytes.Repeat(tarOf(t, file{"b", "beta, and more"}), 100), archive.Limits{Members: 10})
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

// A tarField is what a header has at a place.
type tarField struct {
	at   int
	text string
}

// The fields of a header, by their places.
const (
	atName, atMode, atSize, atTime, atSum, atType = 0, 100, 124, 136, 148, 156
)

// tarHeader is a header of a file of size bytes, and a checksum that holds, with what fields say in the place of that.
func tarHeader(size int, fields ...tarField) string {
	h := make([]byte, 512)
	for _, f := range append([]tarField{{atName, "m"}, {atMode, "0000644\x00"}, {atSize, fmt.Sprintf("%011o\x00", size)}, {atTime, "00000000000\x00"}, {atType, "0"},
		{257, "ustar\x0000"}}, fields...) {
		copy(h[f.at:], f.text)
	}
	sum := string(h[atSum:atType])
	seal(h)
	if strings.Trim(sum, "\x00") != "" { // with D for the digits
		digits := strings.Trim(string(h[atSum:atType]), " \x00")
		copy(h[atSum:atType], make([]byte, 8))
		copy(h[atSum:atType], strings.Replace(sum, "D", digits, 1))
	}
	return string(h)
}

// padded fills the last block of a tar file's content.
func padded(s string) string { return s + strings.Repeat("\x00", -len(s)&511) }

// paxHeader holds records of key and value for the header behind it.
func paxHeader(pairs ...string) string {
	records := ""
	for i := 0; i < len(pairs); i += 2 {
		n := len(pairs[i]) + len(pairs[i+1]) + 3
		n += len(fmt.Sprint(n + 2))
		records += fmt.Sprintf("%d %s=%s\n", n, pairs[i], pairs[i+1])
	}
	return tarHeader(len(records), tarField{atType, "x"}) + padded(records)
}

// What clamscan reads of a header is read here (TestSeesWhatClamAVSees has the same objects), whatever the rest of it looks like.
func TestPlainHeadersOfATarAreRead(t *testing.T) {
	for name, c := range plainTars() {
		t.Run(name, func(t *testing.T) {
			lines := walk(t, []byte(c.object), archive.Limits{})
			n := 0
			for _, l := range lines {
				if l.path == "!m" && l.content == marker {
					n++
				}
			}
			if n != 1 && c.found || n > 0 && !c.found {
				t.Errorf("found %d times: %v", n, lines)
			}
		})
	}
}

// A plainTar is a tar file that holds the marker, and whether anybody finds it.
type plainTar struct {
	object string
	found  bool
}

func plainTars() map[string]plainTar {
	n := len(marker)
	objects := map[string]plainTar{}
	add := func(name string, found bool, object string) {
		objects[name] = plainTar{tarHeader(5, tarField{atName, "first"}) + padded("alpha") + object + strings.Repeat("\x00", 1024), found}
	}
	of := func(fields ...tarField) string { return tarHeader(n, fields...) + padded(marker) }
	for at, name := range map[int]string{atMode: "mode", 108: "user", 116: "group", atTime: "time"} {
		add(name, true, of(tarField{at, "no number"[:8]}))
	}
	for name, size := range map[string]string{"junk": "%o junk", "no octal": "%o9", "spaces": "     %o", "a tab": "\t%o ", "a plus": "+%o", "full": "%012o", "33 bits": "1%011o\x00"} {
		if name == "33 bits" {
			size = fmt.Sprintf("%012o", 1<<33|n)
		} else {
			size = fmt.Sprintf(size, n)
		}
		add("size, "+name, true, of(tarField{atSize, (size + strings.Repeat("\x00", 12))[:12]}))
	}
	for name, size := range map[string]string{"letters": "letters", "negative": "-0000000045", "31 bits": "20000000000"} { // none, so that the next header is looked for at once; clamscan ends there
		add("size, "+name, true, tarHeader(0, tarField{atSize, (size + strings.Repeat("\x00", 12))[:12]})+of())
	}
	for name, sum := range map[string]string{"junk": "D junk..", "no octal": "D9\x00", "spaces": "  D\x00", "a plus": "+D\x00"} {
		add("sum, "+name, true, of(tarField{atSum, sum}))
	}
	add("sum, spaces alone", false, of(tarField{atSum, "        "}))
	add("sum, letters", false, of(tarField{atSum, "letters "}))
	add("a sparse file", true, of(tarField{atType, "S"}))
	add("a label", true, tarHeader(1000, tarField{atType, "V"})+strings.Repeat("q", 512)+of())
	add("a link of a size", true, tarHeader(1000, tarField{atType, "2"})+strings.Repeat("q", 512)+of())
	add("records, time", true, paxHeader("mtime", "no number")+of())
	add("records, user", true, paxHeader("uid", "no number")+of())
	add("records, no size", true, paxHeader("size", "no number")+of())
	add("records, less", true, paxHeader("size", "5")+of())
	add("records, more", true, paxHeader("size", "700")+of())
	add("records, a map", true, paxHeader("GNU.sparse.map", "no map", "GNU.sparse.size", "5")+of())
	add("a record as a file", false, of(tarField{atType, "x"}))
	add("a long name, and a mode", true, tarHeader(3, tarField{atType, "L"})+padded("abc")+of(tarField{atMode, "no mode."}))
	return objects
}

// What is too large for clamscan is no reason to look for headers in it, and what a size claims leads to no allocation.
func TestLargeSizesOfATar(t *testing.T) {
	const room = 3 << 30
	content := tarHeader(0, tarField{atSize, fmt.Sprintf("%012o", room)}, tarField{atMode, "no mode."})
	r := &sparseReader{begin: []byte(content), end: []byte(tarHeader(5) + padded("alpha")), size: room + 512 + 1024}
	w := newWalker(t, archive.Limits{MemberBytes: 1 << 20}, 1<<20, nil)
	w.container("", r, r.size)
	wantLines(t, w.lines, `: "" damaged`, `!m: "alpha" ok`, `!m: "1048576 bytes" limit member bytes hidden`)
	if read := w.b.Spent().Read; read > 4<<20 {
		t.Errorf("%d bytes were read", read)
	}
}

// A sparseReader is zeros between a beginning and an end.
type sparseReader struct {
	begin, end []byte
	size       int64
}

func (r *sparseReader) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(r.begin)) {
		copy(p, r.begin[off:])
	}
	from := r.size - int64(len(r.end))
	if at := from - off; at >= 0 && at < int64(len(p)) {
		copy(p[at:], r.end)
	} else if at < 0 {
		copy(p, r.end[-at:])
	}
	return len(p), nil
}
