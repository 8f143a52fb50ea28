package matcher

import (
	"bytes"
	"errors"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/filetype"
)

// FuzzLines puts any bytes in the place of the lines. They can hide records (which is why pieces have
// checksums) but must never make one up, end the program or read outside.
func FuzzLines(f *testing.F) {
	s := sections{
		"hash/sha256":  nil,
		"whole/sha256": {listed(dbformat.SHA256, "whole", true, "Test.Whole")},
	}
	for i := range 40 {
		s["hash/sha256"] = append(s["hash/sha256"], listed(dbformat.SHA256, string(rune('a'+i)), true, "Test.Split"))
	}
	light, rest := generation(f, s)
	e, err := OpenGeneration(light, rest, Options{})
	if err != nil {
		f.Fatal(err)
	}
	right := *e.index.pieces[0].Load()
	wrong := make([]byte, len(right))
	for i := range wrong {
		wrong[i] = 0xff
	}
	f.Add(right)
	f.Add(wrong)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		lines := make([]byte, len(right))
		copy(lines, b)
		e.index.pieces[0].Store(&lines)
		for section, records := range s {
			for _, r := range records {
				got, err := e.Lookup(dbformat.SHA256, r.Hash[:], int64(r.Size))
				if err != nil || got.Verdict == Malicious && got.Signature != section || got.Verdict != Malicious && got.Verdict != Clean {
					t.Fatalf("%s: %+v, %v", section, got, err)
				}
				r.Hash[31] ^= 1
				if got, err := e.Lookup(dbformat.SHA256, r.Hash[:], int64(r.Size)); err != nil || got.Verdict != Clean {
					t.Fatalf("a stranger: %+v, %v", got, err)
				}
			}
		}
	})
}

// FuzzScanBytes puts any bytes in the place of a file: the verdict is what the reference matcher says of them, and what a limit of the work leaves open is an
// error and nothing else.
func FuzzScanBytes(f *testing.F) {
	lines := []string{
		"A:0:*:6162636465666768??(61|6262)7a7a", "B:1:EP+0,64:4d5a??90", "C:6:SE0:7f454c46", "D:14:EOF-12:80818283", "E:7:0:7465787420{2-8}7465",
		"F;Target:0;0&1=0;6162*6364*6566;7a7a7a7a", "G;Engine:51-255,Target:1,NumberOfSections:1-4;0>2|1;aabb::w;S0+0:ccdd(B)",
	}
	program := peFile(true, sector("one"), sector("two"))
	_, e := database{lines: map[string][]string{"patterns": lines[:3], "rest patterns": lines[3:]}, rows: sections{"rest sections/md5": {listed(dbformat.MD5, sector("two"), true, "S")}}}.
		engines(f, Options{Archives: Archives{Off: true}}) // of what is inside the reference says nothing
	for _, seed := range []string{"", "abcdefgh.azz", program, program[:0x410], "\x7fELF\x01\x01\x01\x00\x7fELF", "\x00\x80\x81\x82\x83 and more", "text in a text", "ab cd ef", "ab cd ef zzzz"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := e.ScanBytes(t.Context(), b)
		if got.Err != nil {
			if !errors.Is(got.Err, ErrLimit) || got.Verdict == Clean {
				t.Fatalf("%+v", got)
			}
			return
		}
		want := ""
		if len(b) >= 6 { // others are of no kind
			file := reference(b)
			for _, line := range lines {
				r, stored := record(t, line)
				match := r.Body != nil && r.Body.Match(&file)
				if r.Logical != nil {
					match, _ = r.Logical.Match(&file)
				}
				if match && want == "" {
					want = stored.Name + " by pattern"
				}
			}
			if layout, err := filetype.Read(bytes.NewReader(b), int64(len(b)), filetype.Detect(b, int64(len(b)))); err == nil && want == "" {
				for r := range layout.Hashed() {
					if string(b[r.Offset:][:r.Size]) == sector("two") {
						want = "S by sections/md5"
					}
				}
			}
		}
		if finds(got) != want {
			t.Fatalf("%q, the reference says %q", finds(got), want)
		}
	})
}

// FuzzSizes puts any bytes in the place of the lists of sizes: what is read is what encodes to the same bytes, and whatever the sizes are, looking one up ends.
func FuzzSizes(f *testing.F) {
	f.Add(encodeSizes(nil), uint8(0), int64(7))
	f.Add(encodeSizes([]sizeList{{any: true}, {sizes: []byte("\x01\x00\x00\x00\x07\x00\x00\x00")}}), uint8(2), int64(7))
	f.Fuzz(func(t *testing.T, b []byte, n uint8, size int64) {
		lists, err := readSizes(b, int(n), nil)
		if err != nil {
			if lists != nil || !errors.Is(err, dbformat.ErrCorrupt) {
				t.Fatalf("%d lists, %v", len(lists), err)
			}
			return
		}
		if len(lists) != int(n) || !bytes.Equal(encodeSizes(lists), b) {
			t.Fatalf("%d lists of %d, encoded as %x, read from %x", len(lists), n, encodeSizes(lists), b)
		}
		for i := range lists {
			if has := lists[i].has(size); !has && (lists[i].any || size < 0) {
				t.Fatalf("size %d is not listed where any is", size)
			}
		}
	})
}
