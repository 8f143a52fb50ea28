package pattern_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"example.org/avdb/pattern"
)

// The records of docs/format/patterns.md are those that are written: each has its line in a comment, and its bytes in the lines behind it.
func TestRecordsAreThoseOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../docs/format/patterns.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(strings.ReplaceAll(string(page), "\r\n", "\n"), "<!-- record ")[1:]
	if len(examples) < 2 {
		t.Fatalf("the page shows %d records", len(examples))
	}
	for _, example := range examples {
		line, table, _ := strings.Cut(example, " -->")
		table, _, _ = strings.Cut(strings.SplitN(table, "```text\n", 2)[1], "```")
		var documented []byte
		for _, row := range strings.Split(strings.TrimSpace(table), "\n") {
			b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(row[:min(len(row), 40)]), " ", ""))
			if err != nil {
				t.Fatalf("%s: the row %q does not begin with bytes: %v", line, row, err)
			}
			documented = append(documented, b...)
		}
		extension := "ndb"
		if strings.Contains(line, ";") {
			extension = "ldb"
		}
		r, err := parseRecord(extension, line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		written, err := pattern.AppendRecord(nil, r)
		if err != nil || !bytes.Equal(written, documented) {
			t.Errorf("%s is written as\n% x, %v; the page says\n% x", line, written, err, documented)
		}
	}
}

// The page lists the file types in the order of their numbers.
func TestFileTypesAreThoseOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../docs/format/patterns.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(page), "are numbers, from 1 on: ")
	list, _, _ = strings.Cut(list, ".")
	names := strings.Split(strings.Join(strings.Fields(list), " "), ", ")
	for i, name := range names {
		if n, ok := pattern.FileTypeOf("CL_TYPE_" + name); !ok || int(n) != i+1 {
			t.Errorf("type %d is %s on the page, %s has the number %d", i+1, name, name, n)
		}
	}
	if next := pattern.FileType(len(names) + 1).String(); next != "" {
		t.Errorf("the page does not list %s", next)
	}
}

// Each byte of a record counts: what differs in one is refused or means something else.
func TestRecordsHaveOneMeaning(t *testing.T) {
	for _, line := range []string{
		"A;Engine:51-255,Target:1,FileSize:1-2,Container:CL_TYPE_ZIP,Intermediates:CL_TYPE_PDF;(0=0&1|2>3)>4,1;5,6:6162(63|6465)66!(B)??{3-5}7778::iwa;EP-5:aa[1-2](B)6162!(63|64)a?{5-}?b6162(W)[0-3]bb;SE1:4142{4}43::wf",
		"A:1:EOF-7,8:6162*6364:51:255",
	} {
		extension := "ndb"
		if strings.Contains(line, ";") {
			extension = "ldb"
		}
		r, err := parseRecord(extension, line)
		if err != nil {
			t.Fatal(err)
		}
		b, err := pattern.AppendRecord([]byte("before"), r)
		if err != nil || !bytes.HasPrefix(b, []byte("before")) {
			t.Fatalf("%x, %v", b, err)
		}
		b = b[len("before"):]
		for i := range b {
			for bit := range 8 {
				changed := bytes.Clone(b)
				changed[i] ^= 1 << bit
				other, err := pattern.ParseRecord(changed)
				if err != nil {
					continue
				}
				if textOf(other) == textOf(r) {
					t.Errorf("bit %d of byte %d of the record of %s does not count", bit, i, line)
				}
				if again, err := pattern.AppendRecord(nil, other); err != nil || !bytes.Equal(again, changed) {
					t.Errorf("%x is read and written as %x, %v", changed, again, err)
				}
			}
		}
		for n := range b {
			if _, err := pattern.ParseRecord(b[:n]); err == nil {
				t.Errorf("%d of the %d bytes of %s are a record", n, len(b), line)
			}
		}
		if _, err := pattern.ParseRecord(append(bytes.Clone(b), 0)); err == nil {
			t.Errorf("a byte behind the record of %s is taken", line)
		}
	}
}

// Values that no line gives have no record.
func TestImpossibleValuesHaveNoRecord(t *testing.T) {
	good := func() *pattern.BodySignature {
		_, s, err := pattern.ParseBodyLine("A:2:*:6162??6364")
		if err != nil {
			t.Fatal(err)
		}
		return &s
	}
	for name, spoil := range map[string]func(s *pattern.BodySignature){
		"no part":            func(s *pattern.BodySignature) { s.Body.Parts = nil },
		"unknown target":     func(s *pattern.BodySignature) { s.Target = 15 },
		"spare field":        func(s *pattern.BodySignature) { s.Offset.N = 1 },
		"section of no file": func(s *pattern.BodySignature) { s.Offset.Place = pattern.PlaceSection },
		"gap before all":     func(s *pattern.BodySignature) { s.Body.Parts[0].Gap.Min = 1 },
		"unset distance":     func(s *pattern.BodySignature) { s.Body.Parts[0].Before.Min = 1 },
		"wide word":          func(s *pattern.BodySignature) { s.Body.Parts[0].Begin.Class = pattern.ClassWideWord },
		"two as one": func(s *pattern.BodySignature) {
			s.Body.Parts[0].Elements = append(s.Body.Parts[0].Elements, pattern.Element{Op: pattern.OpBytes, Bytes: "a"})
		},
		"no wildcard":     func(s *pattern.BodySignature) { s.Body.Parts[0].Elements[1].Count = 0 },
		"skip":            func(s *pattern.BodySignature) { s.Body.Parts[0].Elements[1].Op = pattern.OpSkip },
		"unknown element": func(s *pattern.BodySignature) { s.Body.Parts[0].Elements[1].Op = 99 },
		"empty range":     func(s *pattern.BodySignature) { s.Engine = pattern.Range{Set: true, Min: 2, Max: 1} },
	} {
		s := good()
		if _, err := pattern.AppendRecord(nil, pattern.Record{Body: s}); err != nil {
			t.Fatal(err)
		}
		spoil(s)
		if b, err := pattern.AppendRecord([]byte{7}, pattern.Record{Body: s}); err == nil || !bytes.Equal(b, []byte{7}) {
			t.Errorf("%s: written as %x, %v", name, b, err)
		}
	}
	for _, r := range []pattern.Record{{}, {Body: good(), Logical: logical(t, "Target:0;0;6162")}} {
		if _, err := pattern.AppendRecord(nil, r); err == nil {
			t.Errorf("%+v has a record", r)
		}
	}
}

// What is in a record may be for engines of another level than the one that reads it.
func TestRecordsOfOtherLevelsAreRead(t *testing.T) {
	_, s, err := pattern.ParseBodyLine("A:2:*:616263:51:255")
	if err != nil {
		t.Fatal(err)
	}
	s.Engine = pattern.Range{Set: true, Min: pattern.Level + 1, Max: pattern.Level + 2}
	b, err := pattern.AppendRecord(nil, pattern.Record{Body: &s})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := pattern.ParseRecord(b); err != nil || r.Body.Engine.Holds(pattern.Level) {
		t.Errorf("%+v, %v", r.Body, err)
	}
}
