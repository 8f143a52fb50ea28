package archive_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"example.org/avdb/archive"
)

// A zipPart is one file of a zip with everything that headers can lie about.
type zipPart struct {
	name       string
	method     uint16
	packed     string // as it lies behind the local header
	descriptor string // behind that; anything
	flags      uint16 // of the local header
	local      uint32 // bytes packed, as the local header has them
	listed     uint32 // as the directory has them
	size, sum  uint32 // of the content, as the directory has them
	unlisted   bool
}

// partsZip writes parts one behind the other, and the directory of those that are listed.
func partsZip(parts ...zipPart) []byte {
	le := binary.LittleEndian
	var object, dir []byte
	n := 0
	for _, p := range parts {
		header := make([]byte, 46)
		copy(header, "PK\x01\x02")
		le.PutUint16(header[8:], p.flags)
		le.PutUint16(header[10:], p.method)
		le.PutUint32(header[16:], p.sum)
		le.PutUint32(header[20:], p.listed)
		le.PutUint32(header[24:], p.size)
		le.PutUint16(header[28:], uint16(len(p.name)))
		le.PutUint32(header[42:], uint32(len(object)))
		local := append([]byte("PK\x03\x04\x14\x00"), make([]byte, 24)...)
		copy(local[6:14], header[8:16])
		le.PutUint32(local[18:], p.local)
		le.PutUint16(local[26:], uint16(len(p.name)))
		object = append(append(append(append(object, local...), p.name...), p.packed...), p.descriptor...)
		if !p.unlisted {
			dir = append(append(dir, header...), p.name...)
			n++
		}
	}
	end := append([]byte("PK\x05\x06"), make([]byte, 18)...)
	le.PutUint16(end[10:], uint16(n))
	le.PutUint32(end[12:], uint32(len(dir)))
	le.PutUint32(end[16:], uint32(len(object)))
	return slices.Concat(object, dir, end)
}

// descriptor is what follows content of n packed bytes when headers lack the numbers.
func descriptor(content string, packed int) string {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("PK\x07\x08"), checksum(content))
	return string(le.AppendUint32(le.AppendUint32(b, uint32(packed)), uint32(len(content))))
}

// Sizes of zero in both headers say nothing where a descriptor follows or where the content ends by itself: what reads a stream writes it out.
func TestAFolderHidesNoContent(t *testing.T) {
	const evil = "evil evil evil evil"
	packed := deflated(t, evil)
	for name, c := range map[string]struct {
		part zipPart
		want []string
	}{
		"deflated":                     {zipPart{name: "d/", method: 8, packed: packed, descriptor: descriptor(evil, len(packed)), flags: 8}, []string{`!d/: "evil evil evil evil" damaged`}},
		"deflated, nothing says so":    {zipPart{name: "d/", method: 8, packed: packed}, []string{`!d/: "evil evil evil evil" damaged`}},
		"stored":                       {zipPart{name: "d/", packed: evil, descriptor: descriptor(evil, len(evil)), flags: 8}, []string{`!d/: "" ok`, `!d/: "evil evil evil evil" ok hidden`}},
		"stored, no descriptor":        {zipPart{name: "d/", packed: evil, flags: 8}, []string{`!d/: "" ok`, `!d/: "" unsupported hidden`}},
		"zstd":                         {zipPart{name: "d/", method: 93, packed: string(zstdOf(t, evil)), descriptor: descriptor(evil, 9), flags: 8}, []string{`!d/: "" ok`, `!d/: "evil evil evil evil" damaged hidden`}},
		"unlisted, deflated":           {zipPart{name: "d/", method: 8, packed: packed, flags: 8, unlisted: true}, []string{`!d/: "evil evil evil evil" ok hidden`}},
		"unlisted, stored":             {zipPart{name: "d/", packed: evil, descriptor: descriptor(evil, len(evil)), flags: 8, unlisted: true}, []string{`!d/: "evil evil evil evil" ok hidden`}},
		"unlisted, of a long name":     {zipPart{name: strings.Repeat("d/", 1100) + "x", packed: evil, local: uint32(len(evil)), unlisted: true}, []string{`!` + strings.Repeat("d/", 510) + `d…: "evil evil evil evil" damaged hidden`}},
		"encrypted":                    {zipPart{name: "d/", packed: evil, flags: 9}, []string{`!d/: "" encrypted`}},
		"a folder":                     {zipPart{name: "d/"}, nil},
		"a folder, deflated":           {zipPart{name: "d/", method: 8}, nil},
		"a folder with a descriptor":   {zipPart{name: "d/", descriptor: descriptor("", 0), flags: 8}, nil},
		"the same, deflated":           {zipPart{name: "d/", method: 8, descriptor: descriptor("", 0), flags: 8}, nil},
		"a folder, and a short one":    {zipPart{name: "d/", descriptor: descriptor("", 0)[4:], flags: 8}, nil},
		"an unlisted folder":           {zipPart{name: "d/", unlisted: true}, nil},
		"an unlisted folder, deflated": {zipPart{name: "d/", method: 8, unlisted: true, flags: 8, descriptor: descriptor("", 0)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := zipPart{name: "a", packed: "alpha", local: 5, listed: 5, size: 5, sum: checksum("alpha")}
			b := zipPart{name: "b", packed: "beta", local: 4, listed: 4, size: 4, sum: checksum("beta")}
			want := slices.Concat([]string{`!a: "alpha" ok`}, c.want, []string{`!b: "beta" ok`})
			if c.part.unlisted {
				want = slices.Concat([]string{`!a: "alpha" ok`, `!b: "beta" ok`}, c.want)
			}
			wantLines(t, walk(t, partsZip(a, c.part, b), archive.Limits{}), want...)
		})
	}
}

// Stored content with a descriptor behind it ends for one reader where the directory says, for another at the descriptor.
func TestStoredContentEndsAtADescriptorToo(t *testing.T) {
	const evil = "evil evil evil evil"
	short := descriptor(evil, len(evil))[4:]
	part := func(listed int, descriptor string) []byte {
		return partsZip(zipPart{name: "a", packed: evil, descriptor: descriptor, flags: 8, listed: uint32(listed), size: uint32(listed), sum: checksum(evil[:listed])})
	}
	whole := `!a: "evil evil evil evil" ok`
	for name, c := range map[string]struct {
		object []byte
		want   []string
	}{
		"as Go writes it":              {part(len(evil), descriptor(evil, len(evil))), []string{whole}},
		"without a signature":          {part(len(evil), short), []string{whole}},
		"shorter in the directory":     {part(4, descriptor(evil, len(evil))), []string{`!a: "evil" ok`, whole + " hidden"}},
		"nothing in the directory":     {part(0, descriptor(evil, len(evil))), []string{`!a: "" ok`, whole + " hidden"}},
		"by its length":                {part(4, "PK\x07\x08abcd"+short[4:]), []string{`!a: "evil" ok`, whole + " hidden"}},
		"by its checksum":              {part(4, "PK\x07\x08"+short[:4]+"abcdabcd"), []string{`!a: "evil" ok`, whole + " hidden"}},
		"the checksum counts for more": {part(4, "PK\x07\x08abcd"+short[4:]+descriptor(evil+"PK\x07\x08abcd"+short[4:], 0)), []string{`!a: "evil" ok`, `!a: "35 bytes" ok hidden`}},
		"longer in the directory": {partsZip(zipPart{name: "a", packed: evil + descriptor(evil, len(evil)) + evil, flags: 8, listed: 54, size: 54,
			sum: checksum(evil + descriptor(evil, len(evil)) + evil)}), []string{`!a: "54 bytes" ok`, whole + " hidden"}},
		"a descriptor that lies": {part(4, "PK\x07\x08abcdabcdabcd"), []string{`!a: "evil" ok`, `!a: "" unsupported hidden`}},
		"nowhere":                {part(len(evil), ""), []string{whole, `!a: "" unsupported hidden`}},
	} {
		t.Run(name, func(t *testing.T) { wantLines(t, walk(t, c.object, archive.Limits{}), c.want...) })
	}
	// Over the ends of what is read at once.
	for _, n := range []int{1<<16 - 25, 1<<16 - 17, 1<<16 - 3, 1<<16 - 1, 1 << 16, 1<<16 + 1, 200_000} {
		content := random(n)
		object := partsZip(zipPart{name: "a", packed: content, descriptor: descriptor(content, n), flags: 8})
		if got := walk(t, object, archive.Limits{}); len(got) != 2 || got[1].content != content {
			t.Errorf("of %d bytes came %v", n, got)
		}
	}
}

// A descriptor is looked for in each such member anew; that is bounded like everything else that is read.
func TestLookingForDescriptorsIsBounded(t *testing.T) {
	parts := slices.Repeat([]zipPart{{name: "a", packed: random(20_000), flags: 8}}, 500)
	object := partsZip(parts...)
	w := newWalker(t, archive.Limits{TotalBytes: 1 << 20}, len(object), nil)
	w.container("", bytes.NewReader(object), int64(len(object)))
	last := w.lines[len(w.lines)-1]
	if e, ok := errors.AsType[*archive.LimitError](last.err); !ok || e.Limit != archive.LimitRead || w.b.Spent().Read > 2*(int64(len(object))+1<<20)+1<<20 {
		t.Errorf("%d bytes were read, the last line is %s", w.b.Spent().Read, last)
	}
}

// hidingZips are zips in which something is to hide the member m from those who go by one list of what there is; in some of them clamscan finds it.
func hidingZips(t testing.TB) map[string][]byte {
	le := binary.LittleEndian
	n := func(s string) uint32 { return uint32(len(s)) }
	alpha, packed := deflated(t, "alpha"), deflated(t, marker)
	a := zipPart{name: "a", method: 8, packed: alpha, local: n(alpha), listed: n(alpha), size: 5, sum: checksum("alpha")}
	m := zipPart{name: "m", method: 8, packed: packed, local: n(packed), listed: n(packed), size: n(marker), sum: checksum(marker)}
	hidden, lying := m, m
	hidden.unlisted = true
	lying.method, lying.local, lying.sum = 0, 0, 0 // in both lists
	end := func(object []byte) int { return bytes.LastIndex(object, []byte("PK\x05\x06")) }
	dir := func(object []byte) []byte { return object[le.Uint32(object[end(object)+16:]):end(object)] }
	body := func(object []byte) []byte { return object[:le.Uint32(object[end(object)+16:])] }
	covered := func(method, flags uint16, packed string) []byte {
		a := zipPart{name: "a", method: method, flags: flags, packed: packed, local: n(packed), size: 5, sum: checksum("alpha")}
		inner := string(body(partsZip(a, m)))
		a.listed = n(inner) - 31 // with m's header and content
		return partsZip(a, hidden)
	}
	objects := map[string][]byte{
		"behind the end of deflate": covered(8, 0, alpha), "in what is encrypted": covered(8, 1, alpha), "behind the end of Zstandard": covered(93, 0, string(zstdOf(t, "alpha"))),
		"behind the end of bzip2": covered(12, 0, bzip2Of(t, "small")), "in what cannot be unpacked": covered(98, 0, "alpha"),
	}
	both, one := partsZip(a, m), partsZip(a, hidden)
	// Two directories: the first lists what the last does not, which takes all for its own.
	long := bytes.Clone(dir(one))
	le.PutUint32(long[20:], n(string(body(both)))-31)
	last := func(at, size uint32) []byte {
		b := bytes.Clone(both[end(both):])
		le.PutUint16(b[10:], 1)
		le.PutUint32(b[12:], size)
		le.PutUint32(b[16:], at)
		return b
	}
	objects["in another directory"] = slices.Concat(both, long, last(n(string(both)), n(string(long))))
	objects["where the end points"] = slices.Concat(body(both), dir(both), long, last(n(string(body(both))), n(string(long))))
	// The same, and the local header says that there is nothing.
	trueEntry := dir(both)
	liar := body(partsZip(a, lying))
	objects["in another directory alone"] = slices.Concat(liar, trueEntry, both[end(both):], long, last(n(string(both)), n(string(long))))
	objects["where the end points alone"] = slices.Concat(liar, trueEntry, long, last(n(string(liar)), n(string(long))))
	objects["in a directory without an end"] = slices.Concat(liar, trueEntry)
	objects["behind a name that is too long"] = slices.Concat([]byte("PK\x03\x04\x14\x00\x00\x00\x00\x00"), make([]byte, 16), []byte("\x00\x0f\x00\x00"), both, make([]byte, 4000))
	return objects
}

func TestNoListOfAZipHidesAMember(t *testing.T) {
	for name, object := range hidingZips(t) {
		t.Run(name, func(t *testing.T) {
			lines := walk(t, object, archive.Limits{})
			found := 0
			for _, l := range lines {
				if l.content == marker && l.path == "!m" {
					found++
				}
			}
			if found != 1 {
				t.Errorf("found %d times: %v", found, lines)
			}
		})
	}
	// What was given to somebody is not looked through: a zip in a zip comes once.
	inner := string(zipOf(t, file{"m", marker}))
	for name, object := range map[string][]byte{"stored": storedZip(t, file{"z", inner}), "deflated": zipOf(t, file{"z", inner}),
		"zstd": rawZip(1, string(zstdOf(t, inner, zstd.WithEncoderLevel(zstd.SpeedFastest))), 93, uint32(len(inner)))} {
		binary.LittleEndian.PutUint32(object[14:], checksum(inner))
		found := 0
		for _, l := range walk(t, object, archive.Limits{}) {
			if l.content == marker {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s: found %d times", name, found)
		}
	}
}
