package publisher

import (
	"compress/gzip"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"example.org/avdb/dbformat"
)

// folder writes files and gives the folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustCompile(t testing.TB, files map[string]string, p *Policy) *Compiled {
	t.Helper()
	c, err := Compile(context.Background(), []string{folder(t, files)}, p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func line(i int, size any, name string) string {
	return fmt.Sprintf("%064x:%v:%s\n", i, size, name)
}

// section lists a section's records as "hash:size:name", without those of the self-test.
func section(c *dbformat.Content, id dbformat.SectionID) []string {
	var out []string
	for _, r := range c.Sections[id] {
		if !strings.HasPrefix(r.Name, selfTestPrefix) {
			out = append(out, fmt.Sprintf("%x:%d:%s", r.Hash[:id.Algorithm().Size()], r.Size, r.Name))
		}
	}
	return out
}

var (
	hashSHA256  = dbformat.ClassHash.Section(dbformat.SHA256)
	puaSHA256   = dbformat.ClassPUA.Section(dbformat.SHA256)
	wholeSHA256 = dbformat.ClassWhole.Section(dbformat.SHA256)
)

func TestEachLineIsCountedOnce(t *testing.T) {
	c := mustCompile(t, map[string]string{
		"a.hsb":         "# comment\r\n\r\n" + line(1, 10, "A") + line(1, 10, "B") + line(1, 11, "A") + line(2, 10, "Gone") + "broken\n",
		"b.hsu":         line(1, 10, "Pua") + line(3, 10, "Pua"),
		"c.fp":          hexMD5 + ":5:ok\n" + hexMD5 + ":5:ok\n" + hexMD5 + ":*:ok:73\n",
		"d.ign2":        "Gone\nNever.Seen\n",
		"e.hashes":      hexSHA1 + "\n",
		"f.ndb":         "x\n\n# c\ny\n",
		"sub/readme":    "text",
		"sub/g.hdb.gz":  gzipped(t, hexMD5+":7:Packed\n"),
		"sub/h.hdb.zst": zstdPacked(t, hexMD5+":8:Packed\n"),
	}, nil)
	want := Counts{Accepted: 12 + 1, Rejected: 5, Duplicates: 3, Ignored: 1}
	if c.Counts != want {
		t.Errorf("counts %+v, want %+v", c.Counts, want)
	}
	var rejects []string
	for _, r := range c.Rejects {
		rejects = append(rejects, filepath.Base(r.File)+fmt.Sprintf(":%d: %s", r.Line, r.Reason))
	}
	slices.Sort(rejects)
	const noBody = "line: malformed (want NAME:TARGET:OFFSET:HEX[:minFL[:maxFL]])"
	wantRejects := []string{
		"a.hsb:7: " + reasonFields, "c.fp:3: " + reasonAllowSize, "f.ndb:1: " + noBody, "f.ndb:4: " + noBody,
		"readme:0: " + reasonExtension,
	}
	if !slices.Equal(rejects, wantRejects) {
		t.Errorf("rejects %q, want %q", rejects, wantRejects)
	}
	if want := map[string]uint64{reasonFields: 1, reasonAllowSize: 1, "malformed": 2, reasonExtension: 1}; !maps.Equal(c.RejectedBy, want) {
		t.Errorf("rejects by kind %v, want %v", c.RejectedBy, want)
	}
	if got, want := section(c.Content, hashSHA256), []string{fmt.Sprintf("%064x:10:A", 1), fmt.Sprintf("%064x:11:A", 1)}; !slices.Equal(got, want) {
		t.Errorf("signatures %q, want %q", got, want)
	}
	if got, want := section(c.Content, puaSHA256), []string{fmt.Sprintf("%064x:10:Pua", 3)}; !slices.Equal(got, want) {
		t.Errorf("PUA signatures %q, want %q", got, want)
	}
	if want := []string{"Gone", "Never.Seen"}; !slices.Equal(c.Content.Ignore, want) {
		t.Errorf("ignored names %q, want %q", c.Content.Ignore, want)
	}
}

func gzipped(t testing.TB, s string) string {
	var b strings.Builder
	w := gzip.NewWriter(&b)
	fmt.Fprint(w, s)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zstdPacked(t testing.TB, s string) string {
	var b strings.Builder
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, s)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAWinningNameIsTheFirstInByteOrderAndAnyNameBeatsNone(t *testing.T) {
	hash := fmt.Sprintf("%064x", 1)
	c := mustCompile(t, map[string]string{
		"a.hashes": hash + "\n" + hash + ",Zed\n" + hash + ",Alpha\n" + hash + ",Hash.SHA256.0000000000000000\n",
		"b.hashes": fmt.Sprintf("%064x,Hash.SHA256.0000000000000000\n", 2),
	}, nil)
	want := []string{hash + ":0:Alpha", fmt.Sprintf("%064x:0:", 2)}
	if got := section(c.Content, hashSHA256); !slices.Equal(got, want) || c.Duplicates != 3 {
		t.Errorf("signatures %q, %d duplicates; want %q and 3", got, c.Duplicates, want)
	}
}

func TestIgnoreByLineHoldsOnlyWhileTheLineIsUnchanged(t *testing.T) {
	one := strings.TrimSuffix(line(1, 10, "Same"), "\n")
	c := mustCompile(t, map[string]string{
		"a.hsb":    one + "\r\n" + line(2, 10, "Same") + line(3, 10, "Same.More"),
		"b.ign2":   fmt.Sprintf("Same:%X\n", md5.Sum([]byte(one))),
		"c.hashes": fmt.Sprintf("%064x\n", 4),
		"d.ign":    "x:1:Hash.SHA256.0000000000000000\n",
	}, nil)
	want := []string{fmt.Sprintf("%064x:10:Same", 2), fmt.Sprintf("%064x:10:Same.More", 3)}
	if got := section(c.Content, hashSHA256); !slices.Equal(got, want) || c.Ignored != 2 {
		t.Errorf("signatures %q, %d ignored; want %q and 2", got, c.Ignored, want)
	}
	if want := []string{"Hash.SHA256.0000000000000000"}; !slices.Equal(c.Content.Ignore, want) {
		t.Errorf("names ignored everywhere %q, want %q: a line's MD5 is for the publisher alone", c.Content.Ignore, want)
	}
}

func TestSelfTestCannotBeUndoneBySources(t *testing.T) {
	allow := sum(dbformat.SHA256, selfTestContent("hash/sha256"))
	benign := sum(dbformat.MD5, benignContent(0))
	c := mustCompile(t, map[string]string{
		"a.hsb":  line(1, 10, "A") + fmt.Sprintf("%x:*:B:73\n", benign[:16]),
		"b.sfp":  fmt.Sprintf("%x:*:C:73\n", allow),
		"c.ign2": selfTestPrefix + "hash/sha256\n",
	}, nil)
	if c.Rejected != 3 || c.Accepted != 1 {
		t.Errorf("counts %+v, want 3 rejects: %v", c.Counts, c.Rejects)
	}
}

func TestEachSectionOfSignaturesTestsItself(t *testing.T) {
	p := DefaultPolicy()
	p.names = []string{"Held.*"}
	c := mustCompile(t, map[string]string{
		"a.hsb": line(1, 10, "A") + line(2, 10, "Held.B") + hexMD5 + ":4:C\n",
		"b.hsu": line(3, 10, "P"),
		"c.fp":  hexMD5 + ":5:ok\n",
	}, p)
	var got []string
	for _, v := range c.Content.Vectors {
		got = append(got, fmt.Sprintf("%s %d %d", v.Section, v.Light, v.Full))
	}
	want := []string{"hash/md5 1 2", "hash/sha256 1 2", "pua/sha256 1 2", "whole/sha256 2 2", "allow/md5 3 3", " 0 0", " 0 0"}
	if !slices.Equal(got, want) {
		t.Errorf("vectors %q, want %q", got, want)
	}
	for id, records := range c.Content.Sections {
		if !slices.IsSortedFunc(records, func(a, b dbformat.Record) int { return compareKeys(&a, &b) }) {
			t.Errorf("section %s is not sorted", id)
		}
		if !slices.ContainsFunc(records, func(r dbformat.Record) bool { return r.Name == selfTestPrefix+id.String() }) {
			t.Errorf("section %s has no self-test record", id)
		}
	}
	if c.Accepted != 5 {
		t.Errorf("%d accepted, want 5: self-test records do not count", c.Accepted)
	}
}

func TestWholeIsWhatThePolicySaysAndStaysSo(t *testing.T) {
	list := folder(t, map[string]string{"p.yaml": "whole: {names: ['Held.*'], hashes: list.hashes}", "list.hashes": fmt.Sprintf("%064x\n", 3)})
	p, err := ReadPolicy(filepath.Join(list, "p.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	src := folder(t, map[string]string{"a.hsb": line(1, 1, "Held.A") + line(2, 1, "B") + line(3, 1, "C") + line(4, 1, "Aaa") + line(4, 1, "Held.D")})
	c, err := Compile(context.Background(), []string{src}, p)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprintf("%064x:1:Held.A", 1), fmt.Sprintf("%064x:1:C", 3), fmt.Sprintf("%064x:1:Aaa", 4)}
	if got := section(c.Content, wholeSHA256); !slices.Equal(got, want) {
		t.Errorf("whole %q, want %q: any of a key's names counts", got, want)
	}
	held := map[wholeKey]bool{{dbformat.ClassHash, dbformat.SHA256, [32]byte{31: 1}, 1}: true}
	src = folder(t, map[string]string{"a.hsb": line(1, 1, "Renamed") + line(2, 1, "B")})
	again, err := compile(context.Background(), []string{src}, p, held, func(int, int) {})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := section(again.Content, wholeSHA256), []string{fmt.Sprintf("%064x:1:Renamed", 1)}; !slices.Equal(got, want) {
		t.Errorf("whole after a new name %q, want %q", got, want)
	}
}

func TestContentDoesNotDependOnOrder(t *testing.T) {
	names := []string{"", "A", "B", "Held.C", "Gone", "Hash.SHA256.0000000000000000"}
	rapid.Check(t, func(t *rapid.T) {
		type placed struct{ file, text string }
		var lines []placed
		for range rapid.IntRange(1, 60).Draw(t, "lines") {
			hash := fmt.Sprintf("%064x", rapid.IntRange(1, 6).Draw(t, "hash"))
			name := rapid.SampledFrom(names).Draw(t, "name")
			ext := rapid.SampledFrom([]string{".hsb", ".hsu", ".sfp", ".hashes", ".ign2", ".ndb", ".ndu", ".ldb", ".msb", ".msu"}).Draw(t, "ext")
			var text string
			switch ext {
			case ".hashes":
				text = hash + "," + name
			case ".ign2":
				text = "Gone"
			case ".ndb", ".ndu":
				text = name + ":" + rapid.SampledFrom([]string{"0", "*"}).Draw(t, "target") + ":*:a1b2c3" + hash[62:]
			case ".ldb":
				text = name + ";Target:0;0;a1b2c3" + hash[62:]
			case ".msb", ".msu":
				size := rapid.SampledFrom([]string{"1", "2", "*"}).Draw(t, "size")
				text = size + ":" + hash + ":" + name + ":73"
			default:
				size := rapid.SampledFrom([]string{"1", "2", "*"}).Draw(t, "size")
				text = hash + ":" + size + ":" + name + ":73"
			}
			lines = append(lines, placed{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "file") + ext, text})
		}
		p := DefaultPolicy()
		p.names = []string{"Held.*"}
		compileLines := func(lines []placed, rename func(string) string) *Compiled {
			files := map[string][]string{}
			for _, l := range lines {
				files[rename(l.file)] = append(files[rename(l.file)], l.text)
			}
			dir, err := os.MkdirTemp("", "avdb-order")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			for f, text := range files {
				if err := os.WriteFile(filepath.Join(dir, f), []byte(strings.Join(text, "\n")), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Compile(context.Background(), []string{dir}, p)
			if err != nil && !errors.Is(err, ErrSources) {
				t.Fatal(err)
			}
			return c
		}
		one := compileLines(lines, func(s string) string { return s })
		shuffled := rapid.Permutation(lines).Draw(t, "order")
		two := compileLines(shuffled, func(s string) string { return "z" + s[1:] })
		if one.Counts != two.Counts {
			t.Fatalf("counts %+v and %+v", one.Counts, two.Counts)
		}
		if !reflect.DeepEqual(one.Content, two.Content) {
			t.Fatalf("contents differ: %+v and %+v", one.Content, two.Content)
		}
	})
}

func TestSourcesThatCannotBeUsed(t *testing.T) {
	dir := folder(t, map[string]string{"a.txt": "x", "b.hdb": "# only\n\n", "c.hdb": "broken\n", "d.hdb.gz": "no gzip", "e.hdb.gz": gzipped(t, strings.Repeat(line(1, 1, "A"), 9000))[:200]})
	for name, want := range map[string]string{
		"missing.hdb": "cannot be read",
		"a.txt":       "unknown extension, want one of .hdb",
		"b.hdb":       "no line was accepted: they hold nothing but blank lines and comments",
		"c.hdb":       "no line was accepted, the first reject: " + filepath.Join(dir, "c.hdb") + ":1: " + reasonFields,
		"d.hdb.gz":    "source " + filepath.Join(dir, "d.hdb.gz"),
		"e.hdb.gz":    "breaks off, so nothing is published",
	} {
		_, err := Compile(context.Background(), []string{filepath.Join(dir, name)}, nil)
		if !errors.Is(err, ErrSources) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	if _, err := Compile(context.Background(), nil, nil); !errors.Is(err, ErrSources) {
		t.Errorf("no sources: error %v", err)
	}
}

func TestNothingAcceptedStillListsRejects(t *testing.T) {
	c, err := Compile(context.Background(), []string{folder(t, map[string]string{"a.ndb": "x\ny\n"})}, nil)
	if !errors.Is(err, ErrSources) || c == nil || len(c.Rejects) != 2 {
		t.Fatalf("compiled %+v, error %v; want both rejects and ErrSources", c, err)
	}
}

func TestFoldersFollowNoLink(t *testing.T) {
	outside := folder(t, map[string]string{"o.hsb": line(9, 1, "Outside")})
	dir := folder(t, map[string]string{"a.hsb": line(1, 1, "A")})
	for name, target := range map[string]string{"link.hsb": filepath.Join(outside, "o.hsb"), "linked": outside} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Compile(context.Background(), []string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Accepted != 1 || c.Rejected != 2 || c.Rejects[0].Reason != reasonSymlink || c.Rejects[1].Line != 0 {
		t.Errorf("counts %+v, rejects %v", c.Counts, c.Rejects)
	}
	// An argument that is a link is what its user named.
	if c, err := Compile(context.Background(), []string{filepath.Join(dir, "linked")}, nil); err != nil || c.Accepted != 1 {
		t.Errorf("a folder named through a link: %+v, %v", c, err)
	}
}

func TestCompileStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Compile(ctx, []string{folder(t, map[string]string{"a.hsb": strings.Repeat(line(1, 1, "A"), 70000)})}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPolicies(t *testing.T) {
	p, hashes, err := parsePolicy([]byte("whole:\n  names: ['b*', a, a]\n  hashes: f.hashes\nvariants: [full]\nguards: {removed_percent: 100, allow_added: 0, min_records: 5}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if hashes != "f.hashes" || !slices.Equal(p.names, []string{"a", "b*"}) || !slices.Equal(p.Variants, []dbformat.Variant{dbformat.VariantFull}) ||
		p.Guards != (Guards{RemovedPercent: 100, AllowAdded: 0, MinRecords: 5}) {
		t.Errorf("policy %+v, hashes %q", p, hashes)
	}
	for _, text := range []string{"", "# nothing\n", "variants: [full, light]\n", "whole: {}\nguards: {}\n"} {
		if p, _, err := parsePolicy([]byte(text)); err != nil || !reflect.DeepEqual(p, DefaultPolicy()) {
			t.Errorf("%q: policy %+v, error %v; want the default", text, p, err)
		}
	}
}

func TestPolicyErrorsNameFileLineAndRemedy(t *testing.T) {
	for text, want := range map[string]string{
		"variants: [full]\nvariant: [full]":       `p.yaml:2: unknown field "variant"; known keys are`,
		"variants: [light]":                       "p.yaml:1: variants: full is missing",
		"\nvariants: [full, cloud]":               `p.yaml:2: variants: "cloud" is unknown or twice; write [full] or [light, full]`,
		"guards:\n  removed_percent: 101":         "p.yaml:2: guards.removed_percent: 101 is out of bounds; write 0 to 100",
		"guards:\n  allow_added: -1":              "p.yaml:2: guards.allow_added: -1 is out of bounds",
		"whole: {names: [\"\"]}":                  "p.yaml:1: whole.names:",
		"a: [":                                    "p.yaml:1: ",
		"variants: [full]\nvariants: [full]":      "p.yaml:2: ",
		"variants: [full]\n---\nvariants: [full]": "p.yaml: holds more than one document",
		"guards: {removed_percent: many}":         "p.yaml:1: ",
		"whole: {hashes: missing.hashes}":         "missing.hashes: cannot be read",
		"whole: {hashes: bad.hashes}":             "bad.hashes:2: " + reasonHashLength + "; write a hex",
	} {
		dir := folder(t, map[string]string{"p.yaml": text, "bad.hashes": "# c\nx\n"})
		_, err := ReadPolicy(filepath.Join(dir, "p.yaml"))
		if !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		glob, name string
		want       bool
	}{
		{"Held.*", "Held.A/b", true}, {"Held.*", "Held.", true}, {"Held.*", "held.A", false}, {"*", "", true}, {"", "", true},
		{"a?c", "abc", true}, {"a?c", "ażc", true}, {"a?c", "ac", false}, {"*.b*c", "x.b.bc", true}, {"*.b*c", "x.bcd", false}, {"[a]", "a", false},
		{strings.Repeat("*a", 100) + "b", strings.Repeat("a", 255), false},
	} {
		if got := matchGlob(c.glob, c.name); got != c.want {
			t.Errorf("glob %q, name %q: %v", c.glob, c.name, got)
		}
	}
}

func TestOneKeyHasOnePlaceInAFamily(t *testing.T) {
	p := DefaultPolicy()
	p.names = []string{"Held.*"}
	c := mustCompile(t, map[string]string{
		"a.hsb": line(1, 1, "Held.A") + line(2, 1, "B"),
		"b.hsu": line(1, 1, "Pua.A") + line(2, 1, "Held.Pua") + line(3, 1, "Held.Pua"),
	}, p)
	seen := map[[32]byte]string{}
	for _, id := range slices.Sorted(maps.Keys(c.Content.Sections)) {
		for _, r := range c.Content.Sections[id] {
			if strings.HasPrefix(r.Name, selfTestPrefix) {
				continue
			}
			if other := seen[r.Hash]; other != "" {
				t.Errorf("key %x stands in %s and %s", r.Hash, other, id)
			}
			seen[r.Hash] = id.String()
		}
	}
	if c.Duplicates != 2 || len(seen) != 3 {
		t.Errorf("%d duplicates, %d keys", c.Duplicates, len(seen))
	}
}

func TestBenignVectorsAvoidPrefixesOfSignatures(t *testing.T) {
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{}}
	near := sum(dbformat.MD5, benignContent(0))
	near[15] ^= 1 // another hash with the same prefix, whatever its width
	c.Sections[dbformat.ClassPUA.Section(dbformat.MD5)] = []dbformat.Record{{Hash: near, Name: "Near"}}
	got := benignContents(c)
	if len(got) != benignWanted || string(got[0]) != string(benignContent(1)) || string(got[1]) != string(benignContent(2)) {
		t.Errorf("benign contents %q", got)
	}
}

func TestCompiledContentBuilds(t *testing.T) {
	p := DefaultPolicy()
	p.names = []string{"Held.*"}
	c := mustCompile(t, map[string]string{
		"a.hsb": line(1, 10, "A") + line(2, 10, "Held.B") + hexMD5 + ":4:C\n", "b.hsu": line(3, 10, "P"), "c.fp": hexMD5 + ":5:ok\n", "d.ign2": "X\n",
	}, p)
	light, rest, err := dbformat.Build(c.Content, dbformat.ChooseParams(c.Content, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := dbformat.CheckPair(light.Header(), rest.Header()); err != nil {
		t.Error(err)
	}
}
