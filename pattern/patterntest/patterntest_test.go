package patterntest_test

import (
	"bytes"
	"strings"
	"testing"

	"example.org/avdb/filetype"
	"example.org/avdb/pattern"
	"example.org/avdb/pattern/patterntest"
)

func matches(r pattern.Record, f *pattern.File) bool {
	if r.Body != nil {
		return r.Body.Match(f)
	}
	ok, _ := r.Logical.Match(f)
	return ok
}

// logicalOf is a logical signature that says the same.
func logicalOf(r pattern.Record) *pattern.Logical {
	if r.Logical != nil {
		return r.Logical
	}
	return &pattern.Logical{Target: r.Body.Target, Subsignatures: patterntest.Subsignatures(r)}
}

func targets() []pattern.Target {
	return []pattern.Target{pattern.TargetAny, pattern.TargetPE, pattern.TargetELF, pattern.TargetMachO, pattern.TargetOLE2, pattern.TargetGraphics,
		pattern.TargetPDF, pattern.TargetFlash, pattern.TargetJava}
}

// What is made of a signature matches it, and a near miss mostly does not.
func TestWholeFilesMatch(t *testing.T) {
	w := patterntest.New(1)
	w.Least, w.Most = 4, 9
	made, hits, near, missed, tried := 0, 0, 0, 0, 0
	for i := range 600 {
		target := targets()[i%len(targets())]
		_, line, r := w.Line("A", target)
		for range 4 {
			tried++
			f, ok := w.Whole(logicalOf(r), 1<<20)
			if !ok {
				continue
			}
			made++
			if !matches(r, &f.File) {
				continue
			}
			hits++
			if len(f.Static) == 0 {
				continue
			}
			b := w.Miss(f)
			if len(b) != len(f.Data) || bytes.Equal(b, f.Data) {
				t.Fatalf("no byte of the file for %s was changed", line)
			}
			near++
			if !matches(r, &pattern.File{Data: b, Facts: f.Facts}) {
				missed++
			}
		}
	}
	t.Logf("%d of %d made, %d match; %d of %d near misses do not", made, tried, hits, missed, near)
	if made < tried*7/10 || hits < made*7/10 || missed < near*7/10 {
		t.Error("this tests little")
	}
}

// Files with matches of some subsignatures have some that match and some that do not.
func TestSomeFilesMatch(t *testing.T) {
	for _, target := range []pattern.Target{pattern.TargetAny, pattern.TargetPE, pattern.TargetELF} {
		w := patterntest.New(uint64(target))
		hits := 0
		for range 300 {
			_, _, r := w.Line("A", target)
			if f := w.Some(target, patterntest.Subsignatures(r)); matches(r, &f) {
				hits++
			}
		}
		if hits < 90 || hits > 270 {
			t.Errorf("target %d: %d of 300 files match", target, hits)
		}
	}
}

// What is said of a file's entry point and sections is what package filetype reads.
func TestProgramsAreWhatIsSaidOfThem(t *testing.T) {
	w := patterntest.New(2)
	seen := map[filetype.Kind]int{}
	check := func(f *pattern.File) {
		t.Helper()
		k := filetype.Detect(f.Data[:min(len(f.Data), filetype.HeadSize)], int64(len(f.Data)))
		if seen[k]++; !k.Executable() {
			if f.Header == pattern.HeaderParsed {
				t.Errorf("a file of the kind %s has facts of a program", k)
			}
			return
		}
		l, err := filetype.Read(bytes.NewReader(f.Data), int64(len(f.Data)), k)
		if err != nil {
			t.Fatal(err)
		}
		if k.Target() != filetype.Target(f.Target) || l.Entry != f.EntryPoint || len(l.Sections) != len(f.Sections) {
			t.Fatalf("%s with the entry %d and %d sections, want %d and %d", k, l.Entry, len(l.Sections), f.EntryPoint, len(f.Sections))
		}
		for i, s := range l.Sections {
			if want := f.Sections[i]; s.Offset != want.Offset || s.Size != want.Size {
				t.Errorf("%s: section %d at %d has %d bytes, want %+v", k, i, s.Offset, s.Size, want)
			}
		}
	}
	for _, target := range targets() {
		for range 30 {
			f := w.Some(target, nil)
			check(&f)
		}
		for sections := range uint32(90) {
			l := &pattern.Logical{Target: target, Subsignatures: []pattern.Subsignature{{}}, Sections: pattern.Range{Set: true, Min: sections + 1, Max: sections + 1}}
			l.Expression.Compare = pattern.CompareEqual // no match
			if f, ok := w.Whole(l, 1<<20); !ok {
				t.Errorf("no file of target %d with %d sections", target, sections+1)
			} else {
				check(&f.File)
			}
		}
	}
	for _, k := range []filetype.Kind{filetype.PE, filetype.ELF, filetype.MachO, filetype.Data, filetype.OLE2, filetype.Graphics, filetype.PDF, filetype.Flash, filetype.Java} {
		if seen[k] == 0 {
			t.Errorf("no %s among %v", k, seen)
		}
	}
}

// Every construct of the language comes up in lines that package pattern takes, and with letters, without, and with containers alike.
func TestEveryConstructComesUp(t *testing.T) {
	for seed, alphabet := range []string{"", "ab", "abcXYZ .-\n\x00"} {
		w := patterntest.New(uint64(seed))
		w.Alphabet, w.Containers = alphabet, true
		var all strings.Builder
		for i := range 1500 {
			_, line, _ := w.Line("A", targets()[i%4])
			all.WriteString(line + "\n")
		}
		for _, construct := range []string{"??", "?6", "6?", "(B)", "(L)", "(W)", "!(B)", "!(L)", "!(W)", "!(6", "|", "*", "{-6}", "{4-}", "{2-9}", "{3}", "{130}", "{128-}", "[0-", "[2-",
			"EOF-", "EP+", "EP-", "S0+", "S3+", "SL+", "SE", "::i", "::w", "::wa", "::iwa", "::f", "::fwa", "::a", "0=", "1>", "0<", ")=", ")>", ")<", "&", "FileSize:", "NumberOfSections:",
			"EntryPoint:", "Container:CL_TYPE_ZIP", "Container:CL_TYPE_ANY", "Target:0", "Target:1", "Target:6"} {
			if !strings.Contains(all.String(), construct) {
				t.Errorf("no %s in lines of %q", construct, alphabet)
			}
		}
	}
}

// The same seed gives the same, so that what a test found can be found again.
func TestTheSameSeedGivesTheSame(t *testing.T) {
	make := func() string {
		w := patterntest.New(5)
		_, line, r := w.Line("A", pattern.TargetPE)
		f, _ := w.Whole(logicalOf(r), 1<<20)
		return line + w.Mutate(line) + string(f.Data) + string(w.Some(pattern.TargetELF, patterntest.Subsignatures(r)).Data)
	}
	if a := make(); a != make() {
		t.Error("two writers of one seed differ")
	}
}
