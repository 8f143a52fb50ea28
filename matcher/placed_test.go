package matcher

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/pattern"
)

// record is a line of a .ndb or .ldb file as layers store it.
func record(t testing.TB, line string) (r pattern.Record, stored dbformat.PatternRecord) {
	t.Helper()
	var err error
	if strings.Contains(line, ";") {
		r.Logical = new(pattern.Logical)
		stored.Name, *r.Logical, err = pattern.ParseLogicalLine(line)
	} else {
		r.Body = new(pattern.BodySignature)
		stored.Name, *r.Body, err = pattern.ParseBodyLine(line)
	}
	if err == nil {
		stored.Pattern, err = pattern.AppendRecord(nil, r)
	}
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return r, stored
}

// A database is what a generation holds, by the names of sections: those of a rest layer begin with "rest ".
type database struct {
	lines  map[string][]string // of patterns
	rows   sections
	ignore []string
}

func (d database) content(t testing.TB, vectors ...dbformat.Vector) *dbformat.Content {
	t.Helper()
	c := &dbformat.Content{
		Sections: map[dbformat.SectionID][]dbformat.Record{}, RestSections: map[dbformat.SectionID][]dbformat.Record{},
		Patterns: map[dbformat.SectionID][]dbformat.PatternRecord{}, RestPatterns: map[dbformat.SectionID][]dbformat.PatternRecord{},
		Ignore: d.ignore, Vectors: vectors,
	}
	section := func(name string) (dbformat.SectionID, bool) {
		short, rest := strings.CutPrefix(name, "rest ")
		id, err := dbformat.ParseSection(short)
		if err != nil {
			t.Fatal(err)
		}
		return id, rest
	}
	for name, rows := range d.rows {
		if id, rest := section(name); rest {
			c.RestSections[id] = rows
		} else {
			c.Sections[id] = rows
		}
	}
	for name, lines := range d.lines {
		id, rest := section(name)
		into := c.Patterns
		if rest {
			into = c.RestPatterns
		}
		for _, l := range lines {
			_, stored := record(t, l)
			into[id] = append(into[id], stored)
		}
	}
	return c
}

func (d database) build(t testing.TB, vectors ...dbformat.Vector) (light, rest *dbformat.MemLayer) {
	t.Helper()
	c := d.content(t, vectors...)
	light, rest, err := dbformat.Build(c, dbformat.ChooseParams(c, nil))
	if err != nil {
		t.Fatal(err)
	}
	return light, rest
}

// engines are those of the light and of the full variant.
func (d database) engines(t testing.TB, o Options) (light, full *Engine) {
	t.Helper()
	l, r := d.build(t)
	light, err := OpenGeneration(l, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if full, err = OpenGeneration(l, r, o); err != nil {
		t.Fatal(err)
	}
	return light, full
}

// finds is a result in short: the name and the signature, "" for a clean object.
func finds(r Result) string {
	switch {
	case r.Err != nil:
		return fmt.Sprintf("%s %s by %s, error %v", r.Verdict, r.Name, r.Signature, r.Err)
	case r.Verdict == Clean:
		return ""
	case r.Verdict == Malicious:
		return r.Name + " by " + r.Signature
	}
	return fmt.Sprintf("%s %s by %s", r.Verdict, r.Name, r.Signature)
}

// A peFile is a small program with sections of these bytes; the number of bytes is a multiple of 512.
func peFile(wide bool, sections ...string) string {
	const header, optional, at = 0x40, 0x70 + 16*8, 0x400
	b := make([]byte, at)
	copy(b, "MZ")
	le := binary.LittleEndian
	le.PutUint32(b[60:], header)
	copy(b[header:], "PE\x00\x00\x64\x86")
	le.PutUint16(b[header+6:], uint16(len(sections)))
	le.PutUint16(b[header+20:], optional)
	o := b[header+24:]
	le.PutUint16(o, 0x10b)
	le.PutUint32(o[92:], 16) // directories
	if wide {
		le.PutUint16(o, 0x20b)
		le.PutUint32(o[92:], 0)
		le.PutUint32(o[108:], 16)
	}
	le.PutUint32(o[16:], 0x100) // entry point: in the headers
	le.PutUint32(o[32:], 0x1000)
	le.PutUint32(o[36:], 0x200)
	le.PutUint32(o[60:], at)
	table, next := b[header+24+optional:], at
	for i, s := range sections {
		row := table[i*40:]
		copy(row, fmt.Sprintf(".s%d", i))
		le.PutUint32(row[8:], uint32(len(s)))
		le.PutUint32(row[12:], uint32(0x1000*(i+1)))
		le.PutUint32(row[16:], uint32(len(s)))
		le.PutUint32(row[20:], uint32(next))
		next += len(s)
	}
	return string(b) + strings.Join(sections, "")
}

// sector is one of 512 bytes.
func sector(word string) string { return (strings.Repeat(word+".", 512) + word)[:512] }

// Patterns are in light, in rest or in both, and what a variant has of them is found.
func TestPatternsOfBothLayersAreFound(t *testing.T) {
	d := database{
		lines: map[string][]string{
			"patterns":         {"In.Light:0:*:6c696768742d6f6e65", "In.Light.Logical;Target:0;0&1;6c6f676963616c;746f676574686572"},
			"rest patterns":    {"In.Rest:0:0:726573742d6f6e65", "Ignored:0:*:69676e6f7265642d6f6e65"},
			"patternspua":      {"Pua.Light:0:*:7075612d6c69676874"},
			"rest patternspua": {"Pua.Rest:0:EOF-8:7075612d72657374"},
		},
		ignore: []string{"Ignored"},
	}
	light, full := d.engines(t, Options{})
	if light.Records() != 3 || full.Records() != 6 {
		t.Fatalf("%d and %d records, want 3 and 6", light.Records(), full.Records())
	}
	for _, tc := range []struct{ content, light, full, pua string }{
		{"a light-one here", "In.Light by pattern", "In.Light by pattern", "In.Light by pattern"},
		{"logical, together", "In.Light.Logical by pattern", "In.Light.Logical by pattern", "In.Light.Logical by pattern"},
		{"logical alone", "", "", ""},
		{"rest-one at the start", "", "In.Rest by pattern", "In.Rest by pattern"},
		{"no rest-one at the start", "", "", ""},
		{"ignored-one", "", "", ""},
		{"ignored-one and light-one", "In.Light by pattern", "In.Light by pattern", "In.Light by pattern"},
		{"pua-light", "", "", "Pua.Light by patternpua"},
		{"pua-light and light-one", "In.Light by pattern", "In.Light by pattern", "In.Light by pattern"},
		{"at its end pua-rest", "", "", "Pua.Rest by patternpua"},
		{"pua-rest is not at its end", "", "", ""},
		{"", "", "", ""},
	} {
		path := write(t, filepath.Join(t.TempDir(), "f"), tc.content)
		if got := finds(light.ScanFile(t.Context(), path)); got != tc.light {
			t.Errorf("%q, light: %q, want %q", tc.content, got, tc.light)
		}
		r := full.ScanFile(t.Context(), path)
		if got := finds(r); got != tc.full {
			t.Errorf("%q, full: %q, want %q", tc.content, got, tc.full)
		}
		if r.Verdict == Malicious && (r.SHA256 != hexSHA256(tc.content) || r.Size != int64(len(tc.content))) {
			t.Errorf("%q: SHA-256 %s of %d bytes", tc.content, r.SHA256, r.Size)
		}
		if r.Verdict == Clean && r.SHA256 != "" {
			t.Errorf("%q was hashed for nothing", tc.content)
		}
		if got := finds(full.ScanBytes(t.Context(), []byte(tc.content))); got != tc.full {
			t.Errorf("%q as bytes: %q, want %q", tc.content, got, tc.full)
		}
		pua := full.file
		got, _ := pua(t.Context(), entry{path: path}, ScanOptions{PUA: true})
		if finds(got) != tc.pua {
			t.Errorf("%q with PUA: %q, want %q", tc.content, finds(got), tc.pua)
		}
	}
}

// What knows the whole object is stronger than what knows something in it, and an allow record cancels its own kind and those below.
func TestKindsHaveAnOrder(t *testing.T) {
	const plain = "content with the pattern"
	program := peFile(false, sector("one"))
	for _, tc := range []struct {
		name    string
		rows    sections
		lines   []string
		content string
		want    string
	}{
		{"md5 before a pattern", sections{"hash/md5": {listed(dbformat.MD5, plain, true, "Z.MD5")}}, []string{"A.Pattern:0:*:7061747465726e"}, plain, "Z.MD5 by hash/md5"},
		{"the first name of patterns", nil, []string{"B:0:*:7061747465726e", "A:0:*:636f6e74656e74"}, plain, "A by pattern"},
		{"the first name of patterns and sections", sections{"sections/sha256": {listed(dbformat.SHA256, sector("one"), true, "B.Section")}},
			[]string{"A.Pattern:1:*:6f6e652e6f6e65"}, program, "A.Pattern by pattern"},
		{"the first name of sections and patterns", sections{"rest sections/md5": {listed(dbformat.MD5, sector("one"), true, "A.Section")}},
			[]string{"B.Pattern:1:*:6f6e652e6f6e65"}, program, "A.Section by sections/md5"},
		{"an allow record of SHA-256", sections{"allow/sha256": {listed(dbformat.SHA256, plain, false, "Good")}}, []string{"A:0:*:7061747465726e"}, plain, "allowed Good by allow/sha256"},
		{"an allow record of MD5 with a size", sections{"allow/md5": {listed(dbformat.MD5, plain, true, "Good")}}, []string{"A:0:*:7061747465726e"}, plain, "allowed Good by allow/md5"},
		{"an allow record of MD5 for any size", sections{"allow/md5": {listed(dbformat.MD5, plain, false, "Good")}}, []string{"A:0:*:7061747465726e"}, plain, "A by pattern"},
		{"an allow record of SHA-1 for a section's hash", sections{"allow/sha1": {listed(dbformat.SHA1, program, true, "Good")},
			"sections/sha256": {listed(dbformat.SHA256, sector("one"), true, "Bad")}}, nil, program, "allowed Good by allow/sha1"},
		{"an allow record of the section alone", sections{"allow/sha1": {listed(dbformat.SHA1, sector("one"), true, "Good")},
			"sections/sha256": {listed(dbformat.SHA256, sector("one"), true, "Bad")}}, nil, program, "Bad by sections/sha256"},
		{"an allow record of MD5 and a hash of SHA-256", sections{"allow/md5": {listed(dbformat.MD5, plain, true, "Good")},
			"hash/sha256": {listed(dbformat.SHA256, plain, true, "Z.SHA256")}}, []string{"A:0:*:7061747465726e"}, plain, "Z.SHA256 by hash/sha256"},
	} {
		_, e := database{lines: map[string][]string{"rest patterns": tc.lines}, rows: tc.rows}.engines(t, Options{})
		if got := finds(e.ScanBytes(t.Context(), []byte(tc.content))); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// Sections of programs are found by the hash of their bytes, of 32 and of 64 bits, with their size or for any, and those of other files are not.
func TestSectionsOfProgramsAreFound(t *testing.T) {
	one, two, three := sector("one"), sector("two")+sector("more"), sector("three")
	d := database{rows: sections{
		"sections/md5":         {listed(dbformat.MD5, one, true, "One")},
		"rest sections/sha1":   {listed(dbformat.SHA1, two, true, "Two")},
		"rest sections/sha256": {listed(dbformat.SHA256, three, false, "")},
		"sectionspua/md5":      {listed(dbformat.MD5, three, true, "Pua.Three")},
	}}
	wrong := listed(dbformat.MD5, sector("four"), true, "Four")
	wrong.Size++
	d.rows["sections/md5"] = append(d.rows["sections/md5"], wrong)
	light, full := d.engines(t, Options{})
	if light.Records() != 3 || full.Records() != 5 {
		t.Fatalf("%d and %d records, want 3 and 5", light.Records(), full.Records())
	}
	unnamed := "Section.SHA256." + hexSHA256(three)[:16] + " by sections/sha256"
	for _, tc := range []struct{ name, content, light, full string }{
		{"the first of two", peFile(false, one, sector("x")), "One by sections/md5", "One by sections/md5"},
		{"the last, 64 bits", peFile(true, sector("x"), two), "", "Two by sections/sha1"},
		{"for any size", peFile(false, three), "", unnamed},
		{"another size", peFile(false, sector("four")), "", ""},
		{"in two sections", peFile(true, one[:256]+sector("x")[:256]), "", ""},
		{"no program", strings.Repeat("x", 0x400) + one, "", ""},
		{"a program without a layout", peFile(false)[:0x400] + one, "", ""},
	} {
		path := write(t, filepath.Join(t.TempDir(), "f"), tc.content)
		for i, e := range []*Engine{light, full} {
			if got, want := finds(e.ScanFile(t.Context(), path)), []string{tc.light, tc.full}[i]; got != want {
				t.Errorf("%s, full %t: %q, want %q", tc.name, i > 0, got, want)
			}
		}
		got, _ := light.file(t.Context(), entry{path: path}, ScanOptions{PUA: true})
		if pua := finds(got) == "Pua.Three by sectionspua/md5"; pua != strings.Contains(tc.content, three) {
			t.Errorf("%s with PUA: %q", tc.name, finds(got))
		}
	}
}
