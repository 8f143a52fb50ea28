package archive_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/archive"
)

// beginnings are what zips are put behind.
func beginnings(t testing.TB) map[string]string {
	noise := random(700)
	return map[string]string{
		"data": "\xff" + noise, "text": strings.Repeat("some text of a script\n", 60), "a program": "MZ" + noise, "an ELF file": "\x7fELF\x02\x01" + noise, "a picture": "GIF89a" + noise,
		"a document": "%PDF-1.4\n" + noise, "HTML": "<html><body>" + strings.Repeat("hi ", 400), "a script": "#!/bin/sh\nexec unzip \"$0\"\n", "mail": "From: a\nTo: b\nMIME-Version: 1.0\n\n" + noise,
		"another archive": "7z\xbc\xaf\x27\x1c" + noise, "signatures alone": "\xff" + strings.Repeat("PK\x03\x04", 200), "far away": "\xff" + strings.Repeat(noise, 2000),
		"Zstandard": string(zstdOf(t, "alpha")),
	}
}

// embeddedZips are files with a zip in them that clamscan finds as well.
func embeddedZips(t testing.TB) map[string][]byte {
	objects := map[string][]byte{}
	z := storedZip(t, file{"a", "alpha"}, file{"m", marker})
	bare := z[:bytes.Index(z, []byte("PK\x01\x02"))]
	for name, before := range beginnings(t) {
		objects[name] = slices.Concat([]byte(before), z)
		objects[name+", moved"] = moved(slices.Concat([]byte(before), z), len(before))
		objects[name+", no directory"] = slices.Concat([]byte(before), bare)
	}
	begin := "\xff" + random(100)
	for name, part := range map[string]zipPart{
		"no name": {}, "a long name": {name: strings.Repeat("n", 5000)}, "deflated": {name: "m", method: 8, packed: deflated(t, marker)}, "bzip2": {name: "m", method: 12, packed: bzip2Of(t, "small")},
	} {
		if part.packed == "" {
			part.packed = marker
		}
		part.local, part.size, part.sum = uint32(len(part.packed)), uint32(len(marker)), checksum(marker)
		object := partsZip(part)
		binary.LittleEndian.PutUint32(object[22:], part.size)
		objects[name] = slices.Concat([]byte(begin), object[:len(object)-22-46-len(part.name)])
	}
	objects["descriptors"] = slices.Concat([]byte(begin), zipOf(t, file{"m", marker}))
	objects["in a member"] = storedZip(t, file{"x", begin + string(z)})
	objects["in a member of a tar"] = tarOf(t, file{"x", begin + string(bare)})
	objects["behind many"] = slices.Concat([]byte(begin), bytes.Repeat(bare[:bytes.Index(bare[4:], []byte("PK\x03\x04"))+4], 2000), bare)
	return objects
}

// moved makes positions those of the file.
func moved(z []byte, by int) []byte {
	le := binary.LittleEndian
	end := bytes.LastIndex(z, []byte("PK\x05\x06"))
	at := int(le.Uint32(z[end+16:])) + by
	le.PutUint32(z[end+16:], uint32(at))
	for at < end {
		le.PutUint32(z[at+42:], le.Uint32(z[at+42:])+uint32(by))
		at += 46 + int(le.Uint16(z[at+28:])) + int(le.Uint16(z[at+30:])) + int(le.Uint16(z[at+32:]))
	}
	return z
}

func TestZipsInOtherFiles(t *testing.T) {
	for name, object := range embeddedZips(t) {
		t.Run(name, func(t *testing.T) {
			found := 0
			lines := walk(t, object, archive.Limits{})
			for _, l := range lines {
				if l.content == marker {
					found++
				} else if l.err != nil && !strings.HasPrefix(name, "Zstandard") { // which does end before the zip
					t.Errorf("%s: %v", l, l.err)
				}
			}
			if found != 1 {
				t.Errorf("found %d times in %d lines", found, len(lines))
			}
		})
	}
}

// What only looks like a zip is no damage, in a zip that is one everything is said, and a limit always is.
func TestWhatIsSaidOfZipsInOtherFiles(t *testing.T) {
	begin := "\xff" + random(100)
	local := func(part zipPart) string {
		object := partsZip(part)
		return string(object[:bytes.Index(object, []byte("PK\x01\x02"))])
	}
	sound := storedZip(t, file{"m", marker})
	for name, c := range map[string]struct {
		object string
		limits archive.Limits
		want   []string
	}{
		"signatures":               {begin + strings.Repeat("PK\x03\x04 PK\x01\x02 PK\x05\x06 ", 500), archive.Limits{}, nil},
		"encrypted":                {begin + local(zipPart{name: "a", flags: 1, packed: "alpha", local: 5}), archive.Limits{}, nil},
		"an unknown method":        {begin + local(zipPart{name: "a", method: 97, packed: "alpha", local: 5}), archive.Limits{}, nil},
		"longer than the file":     {begin + local(zipPart{name: "a", packed: "alpha", local: 6}), archive.Limits{}, nil},
		"another checksum":         {begin + local(zipPart{name: "a", packed: "alpha", local: 5}), archive.Limits{}, []string{`!a: "alpha" ok hidden`}},
		"broken deflate":           {begin + local(zipPart{name: "a", method: 8, packed: "\xff\xff", local: 2}), archive.Limits{}, []string{`!a: "" ok hidden`}},
		"broken, with a directory": {begin + string(patch(t, sound, marker, 0, 'N')), archive.Limits{}, []string{`!m: "37 bytes" damaged`}},
		"and a signature before":   {begin + "PK\x03\x04" + begin + string(sound), archive.Limits{}, []string{`!m: "37 bytes" ok`}},
		"an entry that leads away": {begin + string(patch(t, sound, "PK\x01\x02", 42, 1)), archive.Limits{}, []string{`!m: "37 bytes" ok hidden`}},
		"a long member":            {begin + local(zipPart{name: "a", packed: "alpha", local: 5}), archive.Limits{MemberBytes: 4}, []string{`!a: "alph" limit member bytes hidden`}},
		"deep":                     {begin + string(sound), archive.Limits{Depth: 1}, []string{`: "" limit depth`}},
	} {
		t.Run(name, func(t *testing.T) { wantLines(t, walk(t, []byte(c.object), c.limits), c.want...) })
	}
}

func TestFindEmbedded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const letters = "PK\x03\x04K"
	for range 20_000 {
		b := make([]byte, r.IntN(400))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		if got, want := archive.FindEmbedded(b), bytes.Index(b, []byte("PK\x03\x04")); got != want {
			t.Fatalf("%d in %q, want %d", got, b, want)
		}
	}
	for _, b := range []string{strings.Repeat("K", 10_000), strings.Repeat("PK", 5000), strings.Repeat("PK\x03", 5000)} {
		for _, tail := range []string{"", "PK\x03\x04", "K\x03\x04"} {
			if got, want := archive.FindEmbedded([]byte(b+tail)), strings.Index(b+tail, "PK\x03\x04"); got != want {
				t.Errorf("%d behind %d bytes, want %d", got, len(b), want)
			}
		}
	}
}

func BenchmarkFindEmbedded(b *testing.B) {
	for name, object := range map[string]string{"noise": random(256 << 10), "capitals": strings.Repeat("K", 256<<10), "beginnings": strings.Repeat("PK\x03", 256<<10/3)} {
		b.Run(fmt.Sprint("content=", name), func(b *testing.B) {
			object := []byte(object)
			b.SetBytes(int64(len(object)))
			for b.Loop() {
				archive.FindEmbedded(object)
			}
		})
	}
}
