package publisher

import (
	"bytes"
	"crypto/md5"
	"debug/pe"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/filetype"
	"example.org/avdb/pattern"
)

var (
	patterns    = dbformat.ClassPattern.Section(dbformat.SHA256)
	patternsPUA = dbformat.ClassPatternPUA.Section(dbformat.SHA256)
	sectionsMD5 = dbformat.ClassPESection.Section(dbformat.MD5)
	sectionsPUA = dbformat.ClassPESectionPUA.Section(dbformat.MD5)
)

// texts lists patterns as canonical lines, without those of the self-test.
func texts(t testing.TB, rows []dbformat.PatternRecord) (lines []string) {
	t.Helper()
	for _, row := range rows {
		if strings.HasPrefix(row.Name, selfTestPrefix) {
			continue
		}
		r, err := pattern.ParseRecord(row.Pattern)
		if err != nil {
			t.Fatalf("%s: %v", row.Name, err)
		}
		if r.Body != nil {
			lines = append(lines, row.Name+":"+r.Body.String())
		} else {
			lines = append(lines, row.Name+";"+r.Logical.String())
		}
	}
	slices.Sort(lines)
	return lines
}

func hashes(rows []dbformat.Record) (lines []string) {
	for _, r := range rows {
		if !strings.HasPrefix(r.Name, selfTestPrefix) {
			lines = append(lines, fmt.Sprintf("%d:%x:%s", r.Size, r.Hash[:4], r.Name))
		}
	}
	return lines
}

func sameLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestWhatLinesOfPatternsSayIsInTheContentOnce(t *testing.T) {
	c := mustCompile(t, map[string]string{
		"a.ndb":     "B.Upper:0:*:A1B2C3D4\nA.Lower:*:*:a1b2c3d4\nGap:1:EP+0:a1b2{2}c3d4\nGap:1:EP-0:a1b2????c3d4\nOther:0:*:a1b2c3d4:1\n",
		"b.ldb":     "L;Engine:51-255,Target:0;0&1;a1b2c3d4;e5f6a7b8\n",
		"c.ndu":     "Unwanted.Twice:0:*:a1b2c3d4\nUnwanted:0:*:0badcafe\n",
		"d.ldu":     "Unwanted.L;Target:0;0;0badcafe00\n",
		"e.mdb":     "512:" + hexMD5 + ":S.B\n512:" + strings.ToUpper(hexMD5) + ":S.A\n*:" + hexMD5 + ":S.Any:73\n513:" + hexMD5 + ":Section.MD5." + hexMD5[:16] + "\n",
		"f.mdu":     "512:" + hexMD5 + ":Unwanted.Too\n514:" + hexMD5 + ":Unwanted.S\n",
		"g.msb.zst": zstdPacked(t, "9:"+hexSHA256+":S.Long\n"),
	}, nil)
	if want := (Counts{Accepted: 5 + 1 + 2 + 1 + 4 + 2 + 1, Duplicates: 5}); c.Counts != want {
		t.Errorf("counts %+v, want %+v; rejects %v", c.Counts, want, c.Rejects)
	}
	sameLines(t, "patterns", texts(t, c.Content.RestPatterns[patterns]),
		"A.Lower:0:*:a1b2c3d4", "Gap:1:EP+0:a1b2????c3d4", "L;Engine:51-255,Target:0;0&1;a1b2c3d4;e5f6a7b8", "Other:0:*:a1b2c3d4:1")
	sameLines(t, "patternspua", texts(t, c.Content.RestPatterns[patternsPUA]), "Unwanted.L;Target:0;0;0badcafe00", "Unwanted:0:*:0badcafe")
	sameLines(t, "sections/md5", hashes(c.Content.RestSections[sectionsMD5]), "0:44d88612:S.Any", "512:44d88612:S.A", "513:44d88612:")
	sameLines(t, "sectionspua/md5", hashes(c.Content.RestSections[sectionsPUA]), "514:44d88612:Unwanted.S")
	sameLines(t, "sections/sha256", hashes(c.Content.RestSections[dbformat.ClassPESection.Section(dbformat.SHA256)]), "9:275a021b:S.Long")
	if len(c.Content.Patterns) != 0 || len(c.Content.Sections) != 0 {
		t.Errorf("light has %v and %v: nothing is whole by default", c.Content.Patterns, c.Content.Sections)
	}
}

func TestLinesOfPatternsAreRejectedWithPlaceAndKind(t *testing.T) {
	for _, c := range []struct{ promise, file, line, reason, kind string }{
		{"no fields", "a.ndb", "x", "line: malformed (want NAME:TARGET:OFFSET:HEX[:minFL[:maxFL]])", "malformed"},
		{"no fields", "a.ldb", "x", "line: malformed (want NAME;ATTRIBUTES;EXPRESSION;SUBSIGNATURE…)", "malformed"},
		{"a target of another engine", "a.ndb", "N:15:*:a1b2c3d4", "target: unknown target (target 15)", "unknown target"},
		{"for later engines", "a.ndb", "N:0:*:a1b2c3d4:211", reasonLevelRange, reasonLevelRange},
		{"for earlier engines", "a.ldb", "N;Engine:1-209,Target:0;0;a1b2c3d4", reasonLevelRange, reasonLevelRange},
		{"a regular expression", "a.ldb", "N;Target:0;0&1;a1b2c3d4;0/x/", "subsignatures: regular expressions are not supported (/ begins a regular expression)", "regular expressions are not supported"},
		{"a comparison of bytes", "a.ldb", "N;Target:0;0&1;a1b2c3d4;0(>>4#hb2#=1)", `subsignature 1: byte comparisons are not supported ("0(>>4#hb2#=1)")`, "byte comparisons are not supported"},
		{"a macro", "a.ldb", "N;Target:0;0&1;a1b2c3d4;${1-2}3$", `subsignature 1: macro groups are not supported ("${1-2}3$")`, "macro groups are not supported"},
		{"an empty name", "a.ndb", ":0:*:a1b2c3d4", reasonNoName, reasonNoName},
		{"an empty name", "a.ldb", ";Target:0;0;a1b2c3d4", reasonNoName, reasonNoName},
		{"a long name", "a.ndb", strings.Repeat("n", 256) + ":0:*:a1b2c3d4", reasonNameLong, reasonNameLong},
		{"an escape sequence in a name", "a.ndb", "a\x1b[2J:0:*:a1b2c3d4", reasonNameControl, reasonNameControl},
		{"a name that is not UTF-8", "a.ldu", "a\xff;Target:0;0;a1b2c3d4", reasonNameUTF8, reasonNameUTF8},
		{"a line beyond what ClamAV reads", "a.ndb", "N:0:*:" + strings.Repeat("a1", 5000), "line: over a limit (more than 8192 bytes)", "over a limit"},
		{"a line beyond any", "a.ldb", "N;Target:0;0;" + strings.Repeat("a1", MaxLine), reasonLong, reasonLong},
		{"no fields", "a.mdb", "x", reasonSectionLine, reasonSectionLine},
		{"odd digits", "a.ndb", "N:0:*:a1b2c", "body: malformed", "malformed"},
		{"a lone byte", "a.ndb", "N:0:*:a1", "", "malformed"},
	} {
		c2, err := Compile(t.Context(), []string{folder(t, map[string]string{c.file: c.line + "\n", "z.ndb": "Ok:0:*:a1b2c3d4\n"})}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c2.Rejected != 1 || c2.Accepted != 1 || !strings.HasPrefix(c2.Rejects[0].Reason, c.reason) || !maps.Equal(c2.RejectedBy, map[string]uint64{c.kind: 1}) {
			t.Errorf("%s: %.80q: rejects %v by %v, want %q by %q", c.promise, c.line, c2.Rejects, c2.RejectedBy, c.reason, c.kind)
		}
	}
}

// Ten million lines that are none must not fill the memory with what is wrong with each of them.
func TestReasonsOfManyRejectsAreFew(t *testing.T) {
	var b strings.Builder
	for i := range maxDetailed + 2000 {
		fmt.Fprintf(&b, "N;Target:0;0;a1b2c3d4::x%d\n", i)
		fmt.Fprintf(&b, "N;Unknown%d:0;0;a1b2c3d4\n", i)
	}
	c := mustCompile(t, map[string]string{"a.ldb": b.String(), "b.ndb": "Ok:0:*:a1b2c3d4\n"}, nil)
	reasons := map[string]bool{}
	for _, r := range c.Rejects[maxDetailed:] {
		reasons[r.Reason] = true
	}
	if len(c.Rejects) != 2*(maxDetailed+2000) || len(reasons) != 2 || !reasons["attributes: unknown attribute or file type"] {
		t.Errorf("%d rejects with the reasons %v", len(c.Rejects), slices.Sorted(maps.Keys(reasons)))
	}
}

func TestIgnoreLinesHoldForPatternsAndSectionHashes(t *testing.T) {
	body, logical, section := "Same:0:*:a1b2c3d4", "Same;Target:0;0;a1b2c3d4ff", "512:"+hexMD5+":Same"
	c := mustCompile(t, map[string]string{
		"a.ndb":  body + "\r\nSame:0:*:a1b2c3d4e5\nGone:0:*:00112233\n",
		"b.ldb":  logical + "\n",
		"c.mdb":  section + "\n513:" + hexMD5 + ":Same\n514:" + hexMD5 + ":Gone\n",
		"d.ndu":  "Gone.Not:0:*:0011223344\n",
		"e.ign2": fmt.Sprintf("Same:%x\nSame:%x\nSame:%x\n", md5.Sum([]byte(body)), md5.Sum([]byte(logical)), md5.Sum([]byte(section))),
		"f.ign":  "x:1:Gone\n",
	}, nil)
	if c.Ignored != 5 || c.Rejected != 0 {
		t.Errorf("counts %+v, rejects %v; want 5 ignored", c.Counts, c.Rejects)
	}
	sameLines(t, "patterns", texts(t, c.Content.RestPatterns[patterns]), "Same:0:*:a1b2c3d4e5")
	sameLines(t, "patternspua", texts(t, c.Content.RestPatterns[patternsPUA]), "Gone.Not:0:*:0011223344")
	sameLines(t, "sections/md5", hashes(c.Content.RestSections[sectionsMD5]), "513:44d88612:Same")
}

func TestThePolicyPlacesPatternsAndSectionHashesInLight(t *testing.T) {
	p := DefaultPolicy()
	p.names = []string{"Held.*"}
	p.hashes = map[reservedKey]bool{{dbformat.MD5, sum(dbformat.MD5, []byte("listed"))}: true}
	files := map[string]string{
		"a.ndb": "Held.A:0:*:a1b2c3d4\nB:0:*:a1b2c3d4e5\nAaa:0:*:a1b2c3d4e6\nHeld.C:0:*:a1b2c3d4e6\n",
		"b.ldu": "Held.P;Target:0;0;0badcafe00\nP;Target:0;0;0badcafe01\n",
		"c.mdb": fmt.Sprintf("1:%s:Held.S\n2:%s:S\n3:%x:Listed\n", hexMD5, hexMD5, md5.Sum([]byte("listed"))),
	}
	c := mustCompile(t, files, p)
	sameLines(t, "patterns in light", texts(t, c.Content.Patterns[patterns]), "Aaa:0:*:a1b2c3d4e6", "Held.A:0:*:a1b2c3d4")
	sameLines(t, "patterns in rest", texts(t, c.Content.RestPatterns[patterns]), "B:0:*:a1b2c3d4e5")
	sameLines(t, "patternspua in light", texts(t, c.Content.Patterns[patternsPUA]), "Held.P;Target:0;0;0badcafe00")
	sameLines(t, "patternspua in rest", texts(t, c.Content.RestPatterns[patternsPUA]), "P;Target:0;0;0badcafe01")
	sameLines(t, "sections in light", hashes(c.Content.Sections[sectionsMD5]), "1:44d88612:Held.S", "3:"+fmt.Sprintf("%x", md5.Sum([]byte("listed")))[:8]+":Listed")
	sameLines(t, "sections in rest", hashes(c.Content.RestSections[sectionsMD5]), "2:44d88612:S")
	if c.Duplicates != 1 {
		t.Errorf("%d duplicates, want the second name of one pattern", c.Duplicates)
	}

	// A key of a file's hash says nothing about one of a section, or of a pattern.
	held := map[wholeKey]bool{{dbformat.ClassHash, dbformat.MD5, sum(dbformat.MD5, []byte("x")), 2}: true}
	again, err := compile(t.Context(), []string{folder(t, map[string]string{"a.mdb": fmt.Sprintf("2:%x:S\n", md5.Sum([]byte("x")))})}, p, held, func(int, int) {})
	if err != nil {
		t.Fatal(err)
	}
	sameLines(t, "sections in rest", hashes(again.Content.RestSections[sectionsMD5]), "2:9dd4e461:S")
}

// An observer says what each section of a generation knows of a content, by other means than a matcher: the reference of package pattern, and the layout that
// package filetype reads.
type observer struct {
	t      *testing.T
	layers []*dbformat.MemLayer
}

func (j *observer) known(content []byte) map[string]bool {
	j.t.Helper()
	known := map[string]bool{}
	kind := filetype.Detect(content, int64(len(content)))
	file := pattern.File{Data: content}
	var ranges []filetype.Range
	if kind == filetype.PE {
		l, err := filetype.Read(bytes.NewReader(content), int64(len(content)), kind)
		if err != nil {
			j.t.Fatal(err)
		}
		ranges = slices.Collect(l.Hashed())
		file.Facts = programFacts()
	}
	for _, layer := range j.layers {
		for i := range layer.Header().Sections {
			s := &layer.Header().Sections[i]
			for n := range s.Blocks {
				data, err := layer.Block(i, n)
				if err != nil {
					j.t.Fatal(err)
				}
				if s.ID.OfPatterns() {
					b, err := dbformat.ParsePatternBlock(data, s, n)
					if err != nil {
						j.t.Fatal(err)
					}
					for _, record := range b.All() {
						r, err := pattern.ParseRecord(record)
						if err != nil {
							j.t.Fatal(err)
						}
						hit := r.Body != nil && r.Body.Match(&file)
						if r.Logical != nil {
							hit, _ = r.Logical.Match(&file)
						}
						known[s.ID.String()] = known[s.ID.String()] || hit
					}
				}
				if s.ID.OfPESections() {
					b, err := dbformat.ParseRecordBlock(data, s, n)
					if err != nil {
						j.t.Fatal(err)
					}
					for row := range b.Rows() {
						var hash [32]byte
						b.Hash(row, &hash)
						for _, r := range ranges {
							part := content[r.Offset : r.Offset+r.Size]
							if sum(s.ID.Algorithm(), part) == hash && (b.Size(row) == dbformat.AnySize || int64(b.Size(row)) == r.Size) {
								known[s.ID.String()] = true
							}
						}
					}
				}
			}
		}
	}
	return known
}

// Each section of a layer is known by a vector of its own, whatever else is there: one that stands in rest alone must be clean with light.
func TestPlacedSectionsTestThemselvesInTheLayerWhereTheyStand(t *testing.T) {
	all := map[string]string{
		"a.ndb": "A:0:*:a1b2c3d4\n", "b.ndb": "Held.A:0:*:a1b2c3d4e5\n", "c.ldu": "P;Target:0;0;0badcafe00\n", "d.ldu": "Held.P;Target:0;0;0badcafe01\n",
		"e.mdb": "1:" + hexMD5 + ":S\n1:" + hexSHA1 + ":S\n", "f.msb": "2:" + hexMD5 + ":Held.S\n2:" + hexSHA256 + ":Held.S\n", "g.mdu": "3:" + hexMD5 + ":U\n",
		"h.hsb": line(1, 10, "H"), "i.fp": hexMD5 + ":5:ok\n",
	}
	names := slices.Sorted(maps.Keys(all))
	p := DefaultPolicy()
	p.names = []string{"Held.*"}
	for mix := 1; mix < 1<<len(names); mix++ {
		if mix&(mix-1) != 0 && mix%7 != 0 && mix != 1<<len(names)-1 {
			continue
		}
		files := map[string]string{}
		for i, name := range names {
			if mix>>i&1 == 1 {
				files[name] = all[name]
			}
		}
		c := mustCompile(t, files, p)
		light, rest := mustBuild(t, c)
		covered := map[string]bool{}
		for _, v := range c.Content.Vectors {
			id, err := dbformat.ParseSection(v.Section)
			if v.Section != "" && err != nil {
				t.Fatal(err)
			}
			inLight, inBoth := (&observer{t, []*dbformat.MemLayer{light}}).known(v.Content), (&observer{t, []*dbformat.MemLayer{light, rest}}).known(v.Content)
			if !id.Placed() {
				if len(inBoth) > 0 && slices.Contains(slices.Collect(maps.Values(inBoth)), true) {
					t.Errorf("%v: the vector of %q is known to %v", slices.Sorted(maps.Keys(files)), v.Section, inBoth)
				}
				continue
			}
			if want := v.Light == dbformat.ExpectMalicious; inLight[v.Section] != want || !want && slices.Contains(slices.Collect(maps.Values(inLight)), true) {
				t.Errorf("%v: light knows the vector of %s by %v, expected %s", slices.Sorted(maps.Keys(files)), v.Section, inLight, v.Light)
			}
			if v.Full != dbformat.ExpectMalicious || !inBoth[v.Section] {
				t.Errorf("%v: full knows the vector of %s by %v, expected %s", slices.Sorted(maps.Keys(files)), v.Section, inBoth, v.Full)
			}
			layer := "rest"
			if v.Light == dbformat.ExpectMalicious {
				layer = "light"
			}
			covered[layer+" "+v.Section] = true
		}
		for _, layer := range []*dbformat.MemLayer{light, rest} {
			for i := range layer.Header().Sections {
				if id := layer.Header().Sections[i].ID; id.Placed() && !covered[layer.Header().Layer.String()+" "+id.String()] {
					t.Errorf("%v: no vector tests %s in %s", slices.Sorted(maps.Keys(files)), id, layer.Header().Layer)
				}
			}
		}
	}
}

// The contents are fixed: another byte in one of them would give every release without a change other digests.
func TestSelfTestContentsStayAsTheyAre(t *testing.T) {
	h := sum(dbformat.SHA256, bytes.Join(append(selfTestTexts(), selfTestPrograms()...), []byte{0}))
	if got, want := fmt.Sprintf("%x", h[:8]), "d7acba73a87d4bdf"; got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	for _, p := range selfTestPrograms() {
		if len(p) > 2<<10 {
			t.Errorf("a program of %d bytes", len(p))
		}
		f, err := pe.NewFile(bytes.NewReader(p))
		if err != nil || len(f.Sections) != 1 {
			t.Fatalf("debug/pe reads %+v, %v", f, err)
		}
		data, err := f.Sections[0].Data()
		if err != nil || !bytes.Equal(data, programSection(p)) {
			t.Errorf("its section is %.40q, %v", data, err)
		}
	}
}

// What the vectors of placed sections must come to is what ClamAV says of them.
func TestClamAVAgreesWithTheSelfTestOfPlacedSections(t *testing.T) {
	program, err := exec.LookPath("clamscan")
	if err != nil {
		t.Skip("clamscan is not installed: what ClamAV itself does is not compared here")
	}
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	light := placedContent(sectionsMD5, dbformat.Light)
	text := placedContent(patterns, dbformat.Rest)
	r, err := pattern.ParseRecord(selfTestPattern(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range dbformat.Algorithms() {
		h := sum(a, programSection(light))
		write("db-"+a.String()+".msb", fmt.Appendf(nil, "%d:%x:Program.%s\n", programBody, h[:a.Size()], a))
	}
	write("db.ldb", []byte("Text;"+r.Logical.String()+"\n"))
	write("light", light)
	write("rest", placedContent(sectionsMD5, dbformat.Rest))
	write("benign", benignProgram())
	write("text", text)
	write("other", placedContent(patterns, dbformat.Light))
	args := []string{"--no-summary", "--infected", "--allmatch", "-d", filepath.Join(dir, "db-md5.msb"), "-d", filepath.Join(dir, "db-sha1.msb"),
		"-d", filepath.Join(dir, "db-sha256.msb"), "-d", filepath.Join(dir, "db.ldb")}
	for _, name := range []string{"light", "rest", "benign", "text", "other"} {
		args = append(args, filepath.Join(dir, name))
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	if e, ok := err.(*exec.ExitError); err != nil && (!ok || e.ExitCode() != 1) {
		t.Fatalf("clamscan: %v: %s", err, out)
	}
	var got []string
	for l := range strings.Lines(strings.ReplaceAll(string(out), dir+string(filepath.Separator), "")) {
		got = append(got, strings.TrimSuffix(strings.TrimSpace(l), ".UNOFFICIAL FOUND"))
	}
	slices.Sort(got)
	sameLines(t, "clamscan finds", slices.Compact(got), "light: Program.md5", "light: Program.sha1", "light: Program.sha256", "text: Text")
}

// One hostile line, or one that is too broad, must not make a release that every endpoint refuses.
func TestPatternsThatMatchTheSelfTestAreRejected(t *testing.T) {
	hex := func(s string) string { return fmt.Sprintf("%x", s) }
	for _, c := range []struct{ promise, file, line string }{
		{"a benign text", "a.ndb", "N:0:*:" + hex("text number 3 that")},
		{"the text of another section", "a.ndb", "N:0:0:" + hex("This is no virus. avdb tests its section hash/md5")},
		{"every text", "a.ndb", "N:0:EOF-3:" + hex("n.") + "0a"},
		{"in another case", "a.ldb", "N;Target:0;0;" + hex("AVDB TESTS") + "::i"},
		{"with gaps", "a.ndu", "N:0:*:" + hex("avdb") + "*" + hex("data") + "??" + hex("ase")},
		{"as normalised text", "a.ndb", "N:7:0:" + hex("this is no virus")},
		{"at its end", "a.ndb", "N:7:EOF-8:" + hex("broken.\n")},
		{"at its end without a line end", "a.ndb", "N:7:EOF-7:" + hex("broken.")},
		{"a program", "a.ndb", "N:1:EP+0:31c0c3"},
		{"a program's section", "a.ldb", "N;Engine:51-255,Target:1,NumberOfSections:1-1;0;S0+0:31c0c3"},
		{"zeros", "a.ndb", "N:0:*:" + strings.Repeat("00", 100)},
		{"without a match of anything", "a.ldb", "N;Target:0;0=0;a1b2c3d4"},
		{"unless something else is there", "a.ldb", "N;Target:0;(0=0)&1;a1b2c3d4;" + hex("avdb tests")},
	} {
		c2, err := Compile(t.Context(), []string{folder(t, map[string]string{c.file: c.line + "\n", "z.ndb": "Ok:0:*:a1b2c3d4\n"})}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c2.Rejected != 1 || c2.Rejects[0].Reason != reasonSelfTestHit {
			t.Errorf("%s: %s: rejects %v", c.promise, c.line, c2.Rejects)
		}
	}
	for _, l := range layers {
		for _, a := range dbformat.Algorithms() {
			h := sum(a, programSection(placedContent(sectionsMD5, l)))
			c, err := Compile(t.Context(), []string{folder(t, map[string]string{"a.mdb": fmt.Sprintf("512:%x:N\n*:%x:N:73\n", h[:a.Size()], h[:a.Size()]), "z.ndb": "Ok:0:*:a1b2c3d4\n"})}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.Rejected != 2 || c.Rejects[0].Reason != reasonSelfTest {
				t.Errorf("the %s of the section in %s: rejects %v", a, l, c.Rejects)
			}
			h = sum(a, placedContent(sectionsMD5, l))
			if !reservedKeys()[reservedKey{a, h}] {
				t.Errorf("the %s of the program in %s may be listed", a, l)
			}
		}
	}
	c := mustCompile(t, map[string]string{
		"a.ndb": "N:1:*:" + hex("avdb tests its section") + "\nM:6:0:" + hex("This is no") + "\n",
		"b.ldb": "N;Engine:51-255,Target:0,FileSize:5000-6000;0;" + hex("avdb tests") + "\nM;Target:0;0&1;a1b2c3d4;" + hex("avdb tests") + "\n",
	}, nil)
	if c.Rejected != 1 || c.Rejects[0].Line != 1 || !strings.HasSuffix(c.Rejects[0].File, "a.ndb") {
		t.Errorf("only what stands in a program of ours matches one: rejects %v", c.Rejects)
	}
}
