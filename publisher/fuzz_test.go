package publisher_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/filetype"
	"example.org/avdb/matcher"
	"example.org/avdb/pattern"
	"example.org/avdb/pattern/patterntest"
	"example.org/avdb/publisher"
	"example.org/avdb/urlhash"
)

// nth is line i of the sources that fuzzing begins with: every kind of hash, size and name, and lines that are none.
func nth(i int) string {
	of := fmt.Appendf(nil, "content %d", i)
	hash := []string{fmt.Sprintf("%x", md5.Sum(of)), fmt.Sprintf("%x", sha1.Sum(of)), fmt.Sprintf("%X", sha256.Sum256(of))}[i%3]
	size := []string{"*", "1", "4294967294", "4294967295", "-1", ""}[i%6]
	name := []string{"Win.A", "Hash.MD5." + hash[:16], "", strings.Repeat("n", 255), "a b", "x\x01"}[i%5]
	level := []string{"", ":73", ":73:255", ":999"}[i%4]
	return fmt.Sprintf("%s:%s:%s%s\n", hash, size, name, level)
}

// FuzzPublishConsume: whatever the sources say, what is compiled can be carried in bundles to another device, whose layers have the same
// digests and which finds each record and nothing beside it: of patterns what the reference of package pattern finds in files that are made for them.
func FuzzPublishConsume(f *testing.F) {
	for i := range 60 {
		text := nth(i)
		for j := range i % 7 {
			text += nth(i*7 + j)
		}
		w := patterntest.New(uint64(i))
		w.Least, w.Most = 4, 9
		lines := ""
		for range i % 5 {
			_, line, _ := w.Line("Made", []pattern.Target{0, 1, 6, 9, 2}[w.IntN(5)])
			if w.IntN(4) == 0 {
				line = w.Mutate(line)
			}
			lines += line + "\n"
		}
		f.Add([]byte(text), []byte(nth(i+1)), []byte(lines))
	}
	f.Add([]byte(""), []byte("#"), []byte("A:0:*:a1b2c3d4\nA;Target:0;0;a1b2c3d4\nB;Target:7;0=0;6162\n"))
	f.Add([]byte(nth(1)), []byte("evil.example\nhttp://sub.evil.example/a/b?x=1\n1.2.3.4\nco.uk\nself-test.avdb.invalid\n"), []byte("A:1:EP+0:??a1b2\n"))
	f.Fuzz(func(t *testing.T, detect, allow, patterns []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{"a.hsb": detect, "b.sfp": allow, "c.hashes": allow, "d.urls": allow, "e.ndb": patterns, "f.ldu": patterns} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := publisher.Compile(t.Context(), []string{dir}, nil)
		if err != nil {
			if !errors.Is(err, publisher.ErrSources) {
				t.Fatal(err)
			}
			return
		}
		light, rest, err := dbformat.Build(c.Content, dbformat.ChooseParams(c.Content, nil))
		if err != nil {
			t.Fatal(err)
		}
		light, rest = carried(t, light), carried(t, rest)
		if err := matcher.SelfTest(light, rest); err != nil {
			t.Fatal(err)
		}
		e, err := matcher.OpenGeneration(light, rest, matcher.Options{PUA: true, Archives: matcher.Archives{Off: true}})
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(allow) {
			entry, err := urlhash.ParseEntry(string(bytes.TrimRight(line, "\r\n")))
			if err != nil || line[0] == '#' || len(line) > publisher.MaxLine {
				continue
			}
			u, err := urlhash.Canonicalize("http://" + entry)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := e.LookupURL(u); err != nil || got.Verdict != matcher.Malicious {
				t.Fatalf("%q: %+v, %v", line, got, err)
			}
		}
		findsPatterns(t, e, c.Content)
		for id, records := range c.Content.Sections {
			if id.OfURLs() {
				for _, r := range records {
					if got, err := e.Lookup(dbformat.SHA256, r.Hash[:], -1); err != nil || got.Verdict != matcher.Clean && len(c.Content.Sections) == 1 {
						t.Fatalf("the URL %x is a file: %+v, %v", r.Hash, got, err)
					}
				}
				continue
			}
			for _, r := range records {
				hash, size := r.Hash[:id.Algorithm().Size()], int64(r.Size)
				if r.Size == dbformat.AnySize {
					size = -1
				}
				if got, err := e.Lookup(id.Algorithm(), hash, size); err != nil || !got.Verdict.Finding() || got.Verdict == matcher.Suspected {
					t.Fatalf("%x of %s: %+v, %v", hash, id, got, err)
				}
				hash[0] ^= 0xff
				if got, err := e.Lookup(id.Algorithm(), hash, size); err != nil || got.Verdict != matcher.Clean && len(records) < 4 {
					t.Fatalf("%x is not of %s: %+v, %v", hash, id, got, err)
				}
			}
		}
	})
}

// findsPatterns holds an engine against the reference of package pattern, over files that are made for each pattern, and near misses.
func findsPatterns(t *testing.T, e *matcher.Engine, c *dbformat.Content) {
	t.Helper()
	var all []pattern.Record
	for _, sections := range []map[dbformat.SectionID][]dbformat.PatternRecord{c.Patterns, c.RestPatterns} {
		for _, id := range dbformat.AllSections() {
			for _, row := range sections[id] {
				r, err := pattern.ParseRecord(row.Pattern)
				if err != nil {
					t.Fatalf("%s: %v", row.Name, err)
				}
				all = append(all, r)
			}
		}
	}
	w := patterntest.New(1)
	for i, r := range all[:min(len(all), 20)] {
		l := r.Logical
		if l == nil {
			l = &pattern.Logical{Target: r.Body.Target, Subsignatures: patterntest.Subsignatures(r)}
		}
		f, ok := w.Whole(l, 64<<10)
		if !ok {
			continue
		}
		files := [][]byte{f.Data}
		if len(f.Static) > 0 {
			files = append(files, w.Miss(f))
		}
		for _, b := range files {
			f := fileOf(t, b)
			want := slices.ContainsFunc(all, func(r pattern.Record) bool {
				if r.Body != nil {
					return r.Body.Match(f)
				}
				ok, _ := r.Logical.Match(f)
				return ok
			})
			if got := e.ScanBytes(t.Context(), b); got.Verdict == matcher.Failed || got.Verdict.Finding() != want {
				t.Fatalf("a file for pattern %d: %+v, and the reference says %t\n%x", i, got, want, b)
			}
		}
	}
}

// fileOf is a file with what package filetype reads of it, as a scan has it.
func fileOf(t *testing.T, b []byte) *pattern.File {
	t.Helper()
	k := filetype.Detect(b[:min(len(b), filetype.MaxHead)], int64(len(b)))
	f := &pattern.File{Data: b, Facts: pattern.Facts{Target: pattern.Target(k.Target())}}
	if !k.Executable() {
		return f
	}
	f.Header = pattern.HeaderBroken
	l, err := filetype.Read(bytes.NewReader(b), int64(len(b)), k)
	if err != nil && !errors.Is(err, filetype.ErrFormat) {
		t.Fatal(err)
	}
	if err == nil {
		f.Header, f.EntryPoint = pattern.HeaderParsed, l.Entry
		for _, s := range l.Sections {
			f.Sections = append(f.Sections, pattern.Section{Offset: s.Offset, Size: s.Size})
		}
	}
	return f
}

// carried is the layer as another device decodes it from its bundle.
func carried(t *testing.T, l *dbformat.MemLayer) *dbformat.MemLayer {
	t.Helper()
	var b bytes.Buffer
	if err := dbformat.WriteBundle(&b, l); err != nil {
		t.Fatal(err)
	}
	var sink dbformat.MemSink
	h, err := dbformat.ReadBundle(&b, l.Header().Layer, &sink)
	if err != nil || h.Digest() != l.Header().Digest() {
		t.Fatalf("the %s layer is another one: %v", l.Header().Layer, err)
	}
	got, err := sink.Layer(h)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
