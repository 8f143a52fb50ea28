package matcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"example.org/avdb/dbformat"
	"example.org/avdb/filetype"
	"example.org/avdb/matcher/patterns"
	"example.org/avdb/pattern"
	"example.org/avdb/store"
)

// A liner makes up lines of signatures over few letters, so that they meet.
type liner struct{ *rand.Rand }

func (l liner) word(least, most int) string {
	b := make([]byte, least+l.IntN(most-least+1))
	for i := range b {
		b[i] = "abcd"[l.IntN(4)]
	}
	return fmt.Sprintf("%x", b)
}

func (l liner) body() string {
	text := l.word(4, 12)
	for range l.IntN(3) {
		gaps := []string{"??", "*", "{2-9}", "{-5}", "{20-}", "6?", "(61|6262)"}
		text += gaps[l.IntN(len(gaps))] + l.word(3, 8)
	}
	return text
}

func (l liner) line(i int) string {
	target := []int{0, 0, 0, 1, 6, 7, 14}[l.IntN(7)]
	offsets := []string{"*", "*", "*", "*", "0", "700,40", "EOF-40", "EOF-300,100"}
	if target == 1 || target == 6 {
		offsets = append(offsets, "EP+0,600", "S0+0,300", "SL+10,900", "SE0", "SE1")
	}
	offset := func() string { return offsets[l.IntN(len(offsets))] }
	if l.IntN(2) == 0 {
		return fmt.Sprintf("N.%d:%d:%s:%s", i, target, offset(), l.body())
	}
	expression := []string{"0&1", "0|1", "0>2|1", "0=0&1", "(0|1)>3", "0&1=1", "0=2|1"}[l.IntN(7)]
	facts := []string{"", ",FileSize:0-50000", ",FileSize:40000-2000000"}[l.IntN(3)]
	text := fmt.Sprintf("L.%d;Engine:51-255,Target:%d%s;%s", i, target, facts, expression)
	for range 2 {
		text += ";"
		if o := offset(); o != "*" {
			text += o + ":"
		}
		text += l.body() + []string{"", "", "::i", "::w", "::wa"}[l.IntN(5)]
	}
	return text
}

// object makes up content of one of several kinds with some bytes that signatures ask for.
func (l liner) object(n int) string {
	b := make([]byte, n)
	letters := "abcd"
	if l.IntN(2) == 0 {
		letters = "abcd    ABCD\x00\x01efghijklmnopqrstuvwxyz01234567890-_"
	}
	for i := range b {
		b[i] = letters[l.IntN(len(letters))]
	}
	half := string(b[:n/512*512])
	switch l.IntN(4) {
	case 0:
		return string(b)
	case 1:
		return "\x80\x00\x01" + string(b)
	case 2:
		return peFile(l.IntN(2) == 0, half, half)
	}
	return "\x7fELF\x01\x01\x01" + string(b)
}

// TestFilesAgreeWithTheReference is the promise for patterns: whatever the signatures, the layers that they stand in, the file and the size of
// the blocks in which it is read, the verdict is what the plain reference matcher says of the file's bytes.
func TestFilesAgreeWithTheReference(t *testing.T) {
	rounds, hits, clean := 12, 0, 0
	if thorough {
		rounds = 120
	}
	for seed := range rounds {
		l := liner{rand.New(rand.NewPCG(uint64(seed), 5))}
		d := database{lines: map[string][]string{}, ignore: []string{"N.0", "L.1", "N.2"}}
		where := []string{"patterns", "rest patterns", "patternspua", "rest patternspua"}
		known := map[string]pattern.Record{}
		pua := map[string]bool{}
		for i := range 3 + l.IntN(40) {
			line := l.line(i)
			r, stored := record(t, line)
			section := where[l.IntN(4)]
			d.lines[section] = append(d.lines[section], line)
			if !slices.Contains(d.ignore, stored.Name) {
				known[stored.Name], pua[stored.Name] = r, strings.HasSuffix(section, "pua")
			}
		}
		_, e := d.engines(t, Options{})
		for range 6 {
			data := l.object(600 + l.IntN([]int{400, 5000, 120_000}[l.IntN(3)]))
			file := reference([]byte(data))
			want := map[bool]string{}
			for name, r := range known {
				match := false
				if r.Body != nil {
					match = r.Body.Match(&file)
				} else {
					match, _ = r.Logical.Match(&file)
				}
				for _, all := range []bool{false, true} {
					if by := name + " by pattern" + map[bool]string{true: "pua"}[pua[name]]; match && (all || !pua[name]) && (want[all] == "" || by < want[all]) {
						want[all] = by
					}
				}
			}
			path := write(t, filepath.Join(t.TempDir(), "f"), data)
			for _, all := range []bool{false, true} {
				h := newHasher()
				h.buf = make([]byte, filetype.MaxHead+l.IntN(100_000))
				look := ScanOptions{PUA: all}.look(e, h)
				got := finds(look.file(t.Context(), path, true))
				if got != want[all] {
					t.Fatalf("seed %d, %d bytes of kind %v in blocks of %d, PUA %t: %q, the reference says %q", seed, len(data),
						filetype.Detect([]byte(data), int64(len(data))), len(h.buf), all, got, want[all])
				}
				if got == "" {
					clean++
				} else {
					hits++
				}
			}
		}
	}
	if hits < rounds || clean < rounds {
		t.Errorf("%d hits and %d clean files: the test asks too little", hits, clean)
	}
}

// What a signature asks about a file beside its bytes is told by the file itself.
func TestFactsComeFromTheFile(t *testing.T) {
	program, broken := peFile(true, sector("one"), sector("two")), []byte(peFile(false, sector("one"), sector("two")))
	broken[0x46], broken[0x47] = 0, 0 // no sections
	elf := "\x7fELF\x01\x01\x01 no more of it, and one.one"
	for _, tc := range []struct {
		line                       string
		program, broken, elf, data bool
	}{
		{"A:0:*:6f6e652e6f6e65", true, true, true, true},
		{"A:1:*:6f6e652e6f6e65", true, true, false, false},
		{"A:6:*:6f6e652e6f6e65", false, false, true, false},
		{"A:14:*:6f6e652e6f6e65", false, false, false, true}, // data, by ClamAV
		{"A:8:*:6f6e652e6f6e65", false, false, false, false},
		{"A:13:*:6f6e652e6f6e65", false, false, false, false},
		{"A:1:S0+0:6f6e652e6f6e65", true, false, false, false},
		{"A:1:S0+1:6f6e652e6f6e65", false, false, false, false},
		{"A:1:SL+0:74776f2e74776f", true, false, false, false},
		{"A:1:SE1:74776f2e74776f", true, false, false, false},
		{"A:1:SE0:74776f2e74776f", true, false, false, false}, // it may start right behind the section
		{"A:1:SE0:6f2e74776f2e", false, false, false, false},
		{"A:1:EP+768:6f6e652e6f6e65", true, false, false, false},
		{"A:0:EOF-1024:6f6e652e6f6e65", true, false, false, false}, // counts as relative: not where a header is broken
		{"A;Engine:51-255,Target:1,NumberOfSections:2-2;0;6f6e652e6f6e65", true, false, false, false},
		{"A;Engine:51-255,Target:1,NumberOfSections:3-9;0;6f6e652e6f6e65", false, false, false, false},
		{"A;Engine:51-255,Target:1,EntryPoint:256-256;0;6f6e652e6f6e65", true, false, false, false},
		{"A;Engine:51-255,Target:0,FileSize:2048-2048;0;6f6e652e6f6e65", true, true, false, false},
		{"A;Engine:81-255,Target:0,Container:CL_TYPE_ZIP;0;6f6e652e6f6e65", false, false, false, false}, // files are in nothing
	} {
		_, e := database{lines: map[string][]string{"rest patterns": {tc.line}}}.engines(t, Options{})
		for _, f := range []struct {
			name, content string
			want          bool
		}{{"program", program, tc.program}, {"broken program", string(broken), tc.broken}, {"ELF", elf, tc.elf}, {"data", "\x00\x01\x00\x01 one.one", tc.data}} {
			if r := e.ScanBytes(t.Context(), []byte(f.content)); r.Verdict == Malicious != f.want || r.Err != nil {
				t.Errorf("%s in the %s: %+v, want it %t", tc.line, f.name, r, f.want)
			}
		}
	}
}

// reference is a file as the reference matcher looks at it.
func reference(b []byte) pattern.File {
	kind := filetype.Detect(b, int64(len(b)))
	f := pattern.File{Data: b, Facts: pattern.Facts{Target: pattern.Target(kind.Target())}}
	if !kind.Executable() {
		return f
	}
	layout, err := filetype.Read(bytes.NewReader(b), int64(len(b)), kind)
	if err != nil {
		f.Header = pattern.HeaderBroken
		return f
	}
	f.Header, f.EntryPoint = pattern.HeaderParsed, layout.Entry
	for _, s := range layout.Sections {
		f.Sections = append(f.Sections, pattern.Section{Offset: s.Offset, Size: s.Size})
	}
	return f
}

// However content comes, the verdict is that of a file, and nothing of it is left behind.
func TestReadersAreMatchedAsFiles(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp) // of Linux and macOS
	t.Setenv("TMP", temp)    // of Windows
	_, e := database{
		lines: map[string][]string{
			"patterns":      {"At.End:0:EOF-9:61742074686520656e64"},
			"rest patterns": {"At.Start:0:0:737461727473", "Late;Target:0;0&1;6161*6262;7a7a7a"},
		},
		rows: sections{"sections/md5": {listed(dbformat.MD5, sector("one"), true, "Section")}},
	}.engines(t, Options{MaxSize: 30 << 20})
	fill := strings.Repeat("0123456789abcdef", 100_000)
	var left []string
	for _, content := range []string{
		"at the end", fill + fill + fill + "at the end", "starts" + fill, peFile(true, sector("one")) + fill + fill + fill, fill, "", "x",
		fill + fill + fill + "aa, bb, zzz",
	} {
		path := write(t, filepath.Join(t.TempDir(), "f"), content)
		want := e.ScanFile(t.Context(), path)
		want.Path, want.SHA256 = "", hexSHA256(content)
		f, err := os.Open(write(t, filepath.Join(t.TempDir(), "g"), "skip"+content))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		behind := bytes.NewReader([]byte("skip" + content))
		for _, r := range []io.Seeker{f, behind} {
			if _, err := r.Seek(4, io.SeekStart); err != nil {
				t.Fatal(err)
			}
		}
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			io.WriteString(out, content)
			out.Close()
		}()
		for name, r := range map[string]io.Reader{
			"an open file":       f,
			"bytes":              behind,
			"a string":           strings.NewReader(content),
			"a section":          io.NewSectionReader(strings.NewReader("skip"+content+"more"), 4, int64(len(content))),
			"a pipe":             in,
			"a stream":           io.MultiReader(strings.NewReader(content)),
			"a reader of halves": iotest.HalfReader(strings.NewReader(content)),
			"errors with data":   iotest.DataErrReader(strings.NewReader(content)),
		} {
			if got := e.ScanReader(t.Context(), r); got != want {
				t.Errorf("%s of %d bytes: %+v\nas a file %+v", name, len(content), got, want)
			}
			if rest, err := io.ReadAll(r); len(rest) > 0 && name != "a section" || err != nil {
				t.Errorf("%s of %d bytes: %d are unread, %v", name, len(content), len(rest), err)
			}
		}
		in.Close()
		if want.SHA256 = hexSHA256(content); finds(want) == "" {
			want.SHA256 = "" // no signature needs it
		}
		if got := e.ScanBytes(t.Context(), []byte(content)); got != want {
			t.Errorf("%d bytes: %+v, as a file %+v", len(content), got, want)
		}
	}
	names, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), "avdb-") {
			left = append(left, n.Name())
		}
	}
	if len(left) > 0 {
		t.Errorf("temporary files are left: %q", left)
	}
	for _, r := range []io.Reader{io.MultiReader(strings.NewReader(strings.Repeat(fill, 20))), strings.NewReader(strings.Repeat(fill, 20))} {
		if got := e.ScanReader(t.Context(), r); got.Verdict != Clean || got.Skipped == "" {
			t.Errorf("above the limit: %+v", got)
		}
	}
	broken := errors.New("line is dead")
	if got := e.ScanReader(t.Context(), io.MultiReader(strings.NewReader(fill), errorReader{broken})); got.Verdict != Failed || got.Err != broken {
		t.Errorf("a reader that breaks: %+v", got)
	}
}

// What comes through a reader stands in no file as it is: another program that watches files must not find it there.
func TestTemporaryFilesHoldNoContent(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	f, err := newMaskedFile()
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("what another engine detects."), maskedAtOnce/8)
	given := slices.Clone(content)
	for _, part := range [][]byte{given[:1], given[1:1000], given[1000:]} {
		if n, err := f.Write(part); n != len(part) || err != nil {
			t.Fatalf("%d of %d bytes, %v", n, len(part), err)
		}
	}
	if !bytes.Equal(given, content) {
		t.Error("Write changes what it is given")
	}
	inFile, err := io.ReadAll(io.NewSectionReader(f.(*maskedFile).file, 0, 1<<30))
	if err != nil || len(inFile) != len(content) || bytes.Contains(inFile, []byte("another")) {
		t.Errorf("%d bytes in the file, %v", len(inFile), err)
	}
	if err := iotest.TestReader(io.NewSectionReader(f, 0, int64(len(content))), content); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if names, err := os.ReadDir(temp); err != nil || len(names) > 0 {
		t.Errorf("%v is left, %v", names, err)
	}
}

// A hostile file that is made for the signatures is given up and said to be, not called clean.
func TestTooMuchWorkIsSaid(t *testing.T) {
	lines := map[string][]string{"patterns": {"Anchored:0:*:616263646566616263646566616263646566??7a7a", "Other:0:*:6f74686572"}}
	content := strings.Repeat("abcdef", 50_000)
	_, e := database{lines: lines}.engines(t, Options{MaxSteps: 1000})
	if r := e.ScanBytes(t.Context(), []byte(content)); r.Verdict != Failed || !errors.Is(r.Err, ErrLimit) || !strings.Contains(r.Error, "1000 steps") {
		t.Errorf("%+v, want ErrLimit", r)
	}
	if r := e.ScanBytes(t.Context(), []byte("other"+strings.Repeat(" ", 200_000)+content)); r.Verdict != Malicious || r.Name != "Other" || !errors.Is(r.Err, ErrLimit) {
		t.Errorf("%+v, want what was found before and ErrLimit", r)
	}
	if r := e.ScanBytes(t.Context(), []byte("quiet")); r.Verdict != Clean || r.Err != nil {
		t.Errorf("the next object: %+v", r)
	}
	_, e = database{lines: lines}.engines(t, Options{})
	if r := e.ScanBytes(t.Context(), []byte(content)); r.Verdict != Clean || r.Err != nil {
		t.Errorf("without a limit of its own: %+v", r)
	}
	any := listed(dbformat.MD5, "nothing", false, "Any")
	_, e = database{rows: sections{"sections/md5": {any}}}.engines(t, Options{})
	if r := e.ScanBytes(t.Context(), overlapping()); r.Verdict != Failed || !errors.Is(r.Err, ErrLimit) {
		t.Errorf("sections that overlap: %+v, want ErrLimit", r)
	}
}

// overlapping is a program of 2000 sections, each of which is half of the file.
func overlapping() []byte {
	all := strings.Repeat("s", 2<<20)
	program := []byte(peFile(false, slices.Repeat([]string{""}, 9)...) + all)
	le := func(at int, v uint32) {
		copy(program[at:], []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
	}
	const table = 0x40 + 24 + 0x70 + 16*8
	program[0x46], program[0x47] = 2000&0xff, 2000>>8
	for i := range 2000 {
		copy(program[table+40*i:], make([]byte, 40))
		le(table+40*i+8, uint32(len(all)))
		le(table+40*i+16, 1<<20)
		le(table+40*i+20, 0x400)
	}
	return program
}

// A pattern that is not asked for and cannot be decided is no error of the object.
func TestUndecidedPatternsThatNobodyWants(t *testing.T) {
	word := strings.Repeat("6162", 8)
	const gap = 1 << 20
	line := func(name string) string { return fmt.Sprintf("%s:0:*:%s{%d-%d}%s7879", name, word, gap, gap, word) }
	object := append(bytes.Repeat([]byte("ab"), gap/2+100), "xy"...)
	for name, tc := range map[string]struct {
		d    database
		pua  bool
		want bool
	}{
		"wanted":            {database{lines: map[string][]string{"patterns": {line("A")}}}, false, true},
		"unwanted":          {database{lines: map[string][]string{"patternspua": {line("A")}, "patterns": {"B:0:*:7a7a7a7a"}}}, false, false},
		"unwanted, and PUA": {database{lines: map[string][]string{"patternspua": {line("A")}, "patterns": {"B:0:*:7a7a7a7a"}}}, true, true},
		"ignored":           {database{lines: map[string][]string{"patterns": {line("A")}}, ignore: []string{"A"}}, false, false},
	} {
		e, _ := tc.d.engines(t, Options{PUA: tc.pua})
		r := e.ScanBytes(t.Context(), object)
		if errors.Is(r.Err, ErrLimit) != tc.want || (r.Verdict == Failed) != tc.want || r.Verdict == Malicious {
			t.Errorf("%s: %+v, want an error %t", name, r, tc.want)
		}
	}
}

// Whatever breaks while a file is matched is an error of that file, and the next one is matched.
func TestPanicsAreErrorsOfTheFile(t *testing.T) {
	_, e := database{lines: map[string][]string{"patterns": {"A:0:*:7061747465726e"}}, rows: sections{"hash/md5": {listed(dbformat.MD5, "known", true, "Known")}}}.
		engines(t, Options{})
	set := e.bodies.set
	e.bodies.set = nil
	e.bodies.scanners.Put(&patterns.Scanner{})
	for range 2 { // with the broken scanner, and without one
		r := e.ScanBytes(t.Context(), []byte("the pattern"))
		if r.Verdict != Failed || !strings.Contains(r.Error, "internal fault") {
			t.Fatalf("%+v, want an error", r)
		}
	}
	if r := e.ScanBytes(t.Context(), []byte("known")); r.Verdict != Malicious || r.Name != "Known" {
		t.Errorf("what is known by its hash: %+v", r)
	}
	if err := e.damage(); err != nil {
		t.Errorf("the database is blamed: %v", err)
	}
	e.bodies.set = set
	if r := e.ScanBytes(t.Context(), []byte("the pattern")); finds(r) != "A by pattern" {
		t.Errorf("the next file: %+v", r)
	}
}

// A file that becomes shorter or longer while patterns are looked for is an error of that file.
func TestPatternsOfFilesThatChange(t *testing.T) {
	_, e := database{lines: map[string][]string{"patterns": {"A:0:*:7061747465726e", "Late;Target:0;0&1;6161*6262;7a7a7a"}}}.engines(t, Options{})
	long := strings.Repeat("0123456789abcdef", 50_000) + "aabbzzz"
	for name, r := range map[string]io.ReaderAt{
		"ends early":  strings.NewReader(long[:len(long)/2]),
		"breaks":      broken{strings.NewReader(long), 1},
		"breaks late": broken{strings.NewReader(long), 5}, // when it is read again
	} {
		l := ScanOptions{}.look(e, newHasher())
		got := l.content(t.Context(), content{r: r, size: int64(len(long)), name: "it"}, "", 0, nil)
		if got.Verdict != Failed || got.Err == nil || name == "ends early" && !errors.Is(got.Err, ErrChanged) {
			t.Errorf("a file that %s: %+v", name, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := e.ScanBytes(ctx, []byte(long)); r.Verdict != Failed || !errors.Is(r.Err, context.Canceled) {
		t.Errorf("an end of the context: %+v", r)
	}
}

// A broken reader fails from its n-th reading on.
type broken struct {
	io.ReaderAt
	n int
}

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off/bufferSize >= int64(b.n) || b.n == 5 && len(p) < bufferSize && off == 0 {
		return 0, errors.New("is broken")
	}
	return b.ReaderAt.ReadAt(p, off)
}

// Objects in which nothing is found cost no memory, whatever the generation looks for, and files what opening them costs.
func TestCleanObjectsAllocateNothing(t *testing.T) {
	_, e := database{
		lines: map[string][]string{"patterns": {"A:0:*:7061747465726e", "B:1:EP+0:7061747465726e", "C:7:*:7061747465726e"}},
		rows:  sections{"hash/md5": {listed(dbformat.MD5, "bad", true, "Bad")}, "sections/md5": {listed(dbformat.MD5, "bad", true, "Bad")}},
	}.engines(t, Options{})
	without := full(t, Options{}, sections{"hash/md5": {listed(dbformat.MD5, "bad", true, "Bad")}})
	data := []byte(strings.Repeat("quite clean. ", 100_000))
	path := write(t, filepath.Join(t.TempDir(), "f"), string(data))
	ctx := t.Context()
	cost := func(look func() Result) float64 {
		return testing.AllocsPerRun(20, func() {
			if r := look(); r.Verdict != Clean || r.Err != nil {
				t.Fatalf("%+v", r)
			}
		})
	}
	if raced {
		return // sync.Pool then drops some of what it is given
	}
	if n := cost(func() Result { return e.ScanBytes(ctx, data) }); n != 0 {
		t.Errorf("%v allocations for each object in memory, want 0", n)
	}
	plain := cost(func() Result { return without.ScanFile(ctx, path) })
	if n := cost(func() Result { return e.ScanFile(ctx, path) }); n != plain {
		t.Errorf("%v allocations for each file, %v without patterns", n, plain)
	}
}

// The vectors of patterns and of sections are matched as files are.
func TestSelfTestMatchesContent(t *testing.T) {
	program := peFile(false, sector("self"))
	good := func() (database, []dbformat.Vector) {
		return database{
				lines: map[string][]string{"patterns": {"Avdb.SelfTest.patterns:0:*:73656c662d746573742e"}, "rest patternspua": {"Avdb.SelfTest.patternspua:0:*:7075612d74657374"}},
				rows:  sections{"rest sections/md5": {listed(dbformat.MD5, sector("self"), true, "Avdb.SelfTest.sections/md5")}},
			}, []dbformat.Vector{
				{Content: []byte("benign")},
				{Section: "sections/md5", Content: []byte(program), Full: dbformat.ExpectMalicious},
				{Section: "patterns", Content: []byte("a self-test."), Light: dbformat.ExpectMalicious, Full: dbformat.ExpectMalicious},
				{Section: "patternspua", Content: []byte("a pua-test"), Full: dbformat.ExpectMalicious},
			}
	}
	try := func(d database, v []dbformat.Vector) error {
		light, rest := d.build(t, v...)
		return errors.Join(SelfTest(light, nil), SelfTest(light, rest))
	}
	if err := try(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(d *database, v []dbformat.Vector) []dbformat.Vector{
		"detects benign content": func(d *database, v []dbformat.Vector) []dbformat.Vector {
			d.lines["rest patterns"] = []string{"Oops:0:*:62656e69676e"}
			return v
		},
		"misses its pattern": func(d *database, v []dbformat.Vector) []dbformat.Vector {
			d.lines["patterns"] = []string{"Avdb.SelfTest.patterns:0:3:73656c662d746573742e"}
			return v
		},
		"misses its section": func(d *database, v []dbformat.Vector) []dbformat.Vector {
			d.rows["rest sections/md5"][0].Size++
			return v
		},
		"one section answers for another": func(d *database, v []dbformat.Vector) []dbformat.Vector {
			d.lines["rest patternspua"] = append(d.lines["rest patternspua"], d.lines["patterns"]...)
			d.lines["patterns"] = []string{"Other:0:*:6f74686572"}
			return v
		},
		"has no vectors": func(d *database, _ []dbformat.Vector) []dbformat.Vector { return nil },
	} {
		d, v := good()
		v = change(&d, v)
		if err := try(d, v); !errors.Is(err, ErrSelfTest) {
			t.Errorf("a generation that %s: %v", name, err)
		}
	}
}

// Scans from many goroutines while generations with patterns are swapped, full and light ones: each answer is that of one generation, and neither files nor
// memory are left.
func TestManyScansDuringSwapsOfPatterns(t *testing.T) {
	d := newDevice(t)
	var gens []store.Generation
	for _, v := range []string{"one", "two"} {
		b := database{lines: map[string][]string{"patterns": {"Test.Light." + v + ":0:*:616c6c206b6e6f772074686973"}, "rest patterns": {"Test.A.Rest." + v + ":0:*:616c6c206b6e6f772074686973"}}}
		for i := range 200 {
			b.lines["rest patterns"] = append(b.lines["rest patterns"], fmt.Sprintf("Other.%d:0:*:%x", i, fmt.Sprintf("other %d of %s", i, v)))
		}
		light, rest := b.build(t)
		g := d.install(t, 1, light, rest)
		alone := g
		alone.Rest = nil
		gens = append(gens, g, alone)
	}
	m := openMatcher(t, d, Options{}, -1)
	path := write(t, filepath.Join(t.TempDir(), "f"), strings.Repeat("before ", 50)+"all know this")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var scans atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var r Result
				if i%2 == 0 {
					r = m.ScanFile(t.Context(), path)
				} else {
					r = m.ScanReader(t.Context(), io.MultiReader(strings.NewReader("all know this")))
				}
				if r.Verdict != Malicious || r.Err != nil || !strings.HasPrefix(r.Name, "Test.Light.") && !strings.HasPrefix(r.Name, "Test.A.Rest.") {
					t.Errorf("%+v", r)
					return
				}
				scans.Add(1)
			}
		})
	}
	const swaps = 100
	var early, late runtime.MemStats
	for i := 0; i < swaps || scans.Load() < swaps && i < 100*swaps; i++ {
		d.set(gens[i%len(gens)], nil)
		if err := m.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
		if i == swaps/5 || i == swaps-1 {
			runtime.GC()
			runtime.GC() // what a sync.Pool had is gone after two
			runtime.ReadMemStats(map[bool]*runtime.MemStats{true: &early, false: &late}[i < swaps/2])
		}
	}
	close(stop)
	wg.Wait()
	if scans.Load() < swaps {
		t.Errorf("%d scans during %d swaps: too few to mean anything", scans.Load(), swaps)
	}
	// Each of the 8 may hold a scanner of an old generation for a moment, and its buffer.
	if grown := int64(late.HeapAlloc) - int64(early.HeapAlloc); grown > 16<<20 {
		t.Errorf("%d bytes of memory after %d swaps, %d after %d", late.HeapAlloc, swaps, early.HeapAlloc, swaps/5)
	} else {
		t.Logf("%d bytes of memory, %d after %d swaps more, %d scans", early.HeapAlloc, late.HeapAlloc, swaps-swaps/5, scans.Load())
	}
	m.Close()
	if opened, n := d.openings(), d.stillOpen(); n != 0 || opened < swaps {
		t.Errorf("%d of %d layer files are still open", n, opened)
	}
}
