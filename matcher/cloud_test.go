package matcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/dbformat"
)

// answers is a cloud that says the same of every object, by algorithm, and remembers what it was asked.
type answers struct {
	by map[dbformat.Algorithm]Settled

	mu    sync.Mutex
	calls [][]Hit
}

func (c *answers) Settle(_ context.Context, hits []Hit) []Settled {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, slices.Clone(hits))
	all := make([]Settled, len(hits))
	for i, h := range hits {
		all[i] = c.by[h.Algorithm]
	}
	return all
}

// asked are all hits so far.
func (c *answers) asked() []Hit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Concat(c.calls...)
}

// cloudFunc is a cloud in one function.
type cloudFunc func(ctx context.Context, hits []Hit) []Settled

func (f cloudFunc) Settle(ctx context.Context, hits []Hit) []Settled { return f(ctx, hits) }

// each answers every hit the same.
func each(n int, s Settled) []Settled { return slices.Repeat([]Settled{s}, n) }

// light is an engine over the light layer alone.
func light(t testing.TB, o Options, s sections, ignore ...string) *Engine {
	t.Helper()
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{}, Ignore: ignore}
	for name, records := range s {
		id, err := dbformat.ParseSection(name)
		if err != nil {
			t.Fatal(err)
		}
		c.Sections[id] = records
	}
	l, _, err := dbformat.Build(c, dbformat.ChooseParams(c, nil))
	if err != nil {
		t.Fatal(err)
	}
	e, err := OpenGeneration(l, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The object of these tests is "bad", which has 3 bytes.
func badBy(a dbformat.Algorithm, size bool, name string) []dbformat.Record {
	return []dbformat.Record{listed(a, "bad", size, name)}
}

func prefixOf(a dbformat.Algorithm) string {
	r := listed(a, "bad", false, "")
	return prefixName(dbformat.ClassHash.Section(a), r.Hash[:a.Size()], 24)
}

func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

// How answers become a verdict, one rule a row.
func TestWhatACloudSettles(t *testing.T) {
	const md5, sha1, sha256 = dbformat.MD5, dbformat.SHA1, dbformat.SHA256
	type answer = map[dbformat.Algorithm]Settled
	all := sections{"hash/md5": badBy(md5, true, "A"), "hash/sha1": badBy(sha1, true, "B"), "hash/sha256": badBy(sha256, true, "C")}
	with := func(more sections) sections {
		s := maps.Clone(all)
		maps.Copy(s, more)
		return s
	}
	for name, c := range map[string]struct {
		s      sections
		ignore string
		pua    bool
		by     answer
		asked  []dbformat.Algorithm
		want   Result
	}{
		"a prefix of a threat": {s: sections{"hash/sha256": badBy(sha256, true, "A")}, by: answer{sha256: {Verdict: Malicious, Name: "Test.A", Source: "cache", Age: 90*time.Second + 1}},
			asked: []dbformat.Algorithm{sha256}, want: Result{Verdict: Malicious, Name: "Test.A", Signature: "hash/sha256", Source: "cache", Age: 90}},
		"a prefix of nothing": {s: sections{"hash/sha256": badBy(sha256, true, "A")}, by: answer{sha256: {Verdict: Clean, Source: "proxy", Age: minutes(1)}},
			asked: []dbformat.Algorithm{sha256}, want: Result{Verdict: Clean, Source: "proxy", Age: 60}},
		"an answer without a source": {s: sections{"hash/sha1": badBy(sha1, true, "A")}, by: answer{sha1: {Verdict: Clean, Age: -minutes(1)}},
			asked: []dbformat.Algorithm{sha1}, want: Result{Verdict: Clean, Source: SourceCloud}},
		"not settled": {s: sections{"hash/md5": badBy(md5, true, "A")}, by: answer{md5: {Verdict: Suspected, Why: "restricted", Source: "cloud", Age: minutes(1)}},
			asked: []dbformat.Algorithm{md5}, want: Result{Verdict: Suspected, Name: prefixOf(md5), Signature: "hash/md5", Source: SourceLocal, Why: "restricted"}},
		"not settled and no word why": {s: sections{"hash/md5": badBy(md5, true, "A")}, by: answer{md5: {Verdict: Suspected}},
			asked: []dbformat.Algorithm{md5}, want: Result{Verdict: Suspected, Name: prefixOf(md5), Signature: "hash/md5", Source: SourceLocal, Why: "the cloud could not tell"}},
		"all are asked, one threat is enough": {s: all, by: answer{sha256: {Verdict: Clean}, sha1: {Verdict: Suspected}, md5: {Verdict: Malicious, Name: "Test.M", Source: "cloud", Age: minutes(2)}},
			asked: []dbformat.Algorithm{sha256, sha1, md5}, want: Result{Verdict: Malicious, Name: "Test.M", Signature: "hash/md5", Source: "cloud", Age: 120}},
		"of two threats that of the strongest": {s: all, by: answer{sha256: {Verdict: Clean}, sha1: {Verdict: Malicious, Name: "Z", Source: "cache", Age: 1}, md5: {Verdict: Malicious, Name: "A", Source: "cloud", Age: minutes(1)}},
			asked: []dbformat.Algorithm{sha256, sha1, md5}, want: Result{Verdict: Malicious, Name: "Z", Signature: "hash/sha1", Source: "cache"}},
		"one open and no threat": {s: all, by: answer{sha256: {Verdict: Clean}, sha1: {Verdict: Suspected, Why: "busy"}, md5: {Verdict: Clean}},
			asked: []dbformat.Algorithm{sha256, sha1, md5}, want: Result{Verdict: Suspected, Name: prefixOf(sha1), Signature: "hash/sha1", Source: SourceLocal, Why: "busy"}},
		"all clean, the oldest answer counts": {s: all, by: answer{sha256: {Verdict: Clean, Source: "cloud", Age: minutes(1)}, sha1: {Verdict: Clean, Source: "cache", Age: minutes(3)}, md5: {Verdict: Clean, Source: "cloud"}},
			asked: []dbformat.Algorithm{sha256, sha1, md5}, want: Result{Verdict: Clean, Source: "cache", Age: 180}},
		"an allow record spares the question": {s: with(sections{"allow/sha256": badBy(sha256, false, "Good")}), want: Result{Verdict: Allowed, Name: "Good", Signature: "allow/sha256", Source: SourceLocal}},
		"an allow record of sha1 leaves sha256": {s: with(sections{"allow/sha1": badBy(sha1, true, "Good")}), by: answer{sha256: {Verdict: Malicious, Name: "C"}},
			asked: []dbformat.Algorithm{sha256}, want: Result{Verdict: Malicious, Name: "C", Signature: "hash/sha256", Source: SourceCloud}},
		"an allow record is left when all else is clean": {s: with(sections{"allow/sha1": badBy(sha1, true, "Good")}), by: answer{sha256: {Verdict: Clean, Source: "cache", Age: minutes(1)}},
			asked: []dbformat.Algorithm{sha256}, want: Result{Verdict: Allowed, Name: "Good", Signature: "allow/sha1", Source: SourceLocal}},
		"an allow record of md5 leaves the others": {s: with(sections{"allow/md5": badBy(md5, true, "Good")}), by: answer{sha256: {Verdict: Clean}, sha1: {Verdict: Malicious, Name: "B"}},
			asked: []dbformat.Algorithm{sha256, sha1}, want: Result{Verdict: Malicious, Name: "B", Signature: "hash/sha1", Source: SourceCloud}},
		"an allow record of md5 without a size allows nothing": {s: sections{"hash/md5": badBy(md5, true, "A"), "allow/md5": badBy(md5, false, "Good")}, by: answer{md5: {Verdict: Malicious, Name: "A"}},
			asked: []dbformat.Algorithm{md5}, want: Result{Verdict: Malicious, Name: "A", Signature: "hash/md5", Source: SourceCloud}},
		"an exact signature spares the question": {s: with(sections{"whole/md5": badBy(md5, true, "Whole")}), want: Result{Verdict: Malicious, Name: "Whole", Signature: "whole/md5", Source: SourceLocal}},
		"a cancelled exact signature does not": {s: with(sections{"whole/md5": badBy(md5, true, "Whole"), "allow/md5": badBy(md5, true, "Good")}), by: answer{sha256: {Verdict: Clean}, sha1: {Verdict: Clean}},
			asked: []dbformat.Algorithm{sha256, sha1}, want: Result{Verdict: Allowed, Name: "Good", Signature: "allow/md5", Source: SourceLocal}},
		"an ignored name": {s: sections{"hash/sha256": badBy(sha256, true, "FP")}, ignore: "FP", by: answer{sha256: {Verdict: Malicious, Name: "FP", Source: "cloud", Age: minutes(1)}},
			asked: []dbformat.Algorithm{sha256}, want: Result{Verdict: Clean, Source: "cloud", Age: 60}},
		"an ignored default name": {s: sections{"hash/sha256": badBy(sha256, true, "")}, ignore: "Hash.SHA256." + hexSHA256("bad")[:16], by: answer{sha256: {Verdict: Malicious}},
			asked: []dbformat.Algorithm{sha256}, want: Result{Verdict: Clean, Source: SourceCloud}},
		"a name that is none": {s: sections{"hash/sha256": badBy(sha256, true, "")}, by: answer{sha256: {Verdict: Malicious, Name: "a\nb"}},
			asked: []dbformat.Algorithm{sha256}, want: Result{Verdict: Malicious, Name: "Hash.SHA256." + hexSHA256("bad")[:16], Signature: "hash/sha256", Source: SourceCloud}},
		"unwanted applications are not asked about": {s: sections{"pua/sha256": badBy(sha256, true, "PUA"), "hash/md5": badBy(md5, true, "A")}, by: answer{md5: {Verdict: Clean}},
			asked: []dbformat.Algorithm{md5}, want: Result{Verdict: Clean, Source: SourceCloud}},
		"unless they are wanted": {s: sections{"pua/sha256": badBy(sha256, true, "PUA")}, pua: true, by: answer{sha256: {Verdict: Malicious, Name: "PUA"}},
			asked: []dbformat.Algorithm{sha256}, want: Result{Verdict: Malicious, Name: "PUA", Signature: "pua/sha256", Source: SourceCloud}},
		"two prefixes of one hash are one hit": {s: sections{"pua/sha256": badBy(sha256, true, "PUA"), "hash/sha256": badBy(sha256, false, "A")}, pua: true, by: answer{sha256: {Verdict: Clean}},
			asked: []dbformat.Algorithm{sha256}, want: Result{Verdict: Clean, Source: SourceCloud}},
	} {
		t.Run(name, func(t *testing.T) {
			var ignore []string
			if c.ignore != "" {
				ignore = append(ignore, c.ignore)
			}
			path := write(t, filepath.Join(t.TempDir(), "bad"), "bad")
			for _, way := range []string{"file", "reader", "scan", "scan with the cloud of the engine"} {
				cloud := &answers{by: c.by}
				o := Options{PUA: c.pua, Cloud: cloud}
				if way == "scan" {
					o.Cloud = cloudFunc(func(context.Context, []Hit) []Settled { t.Error("the wrong cloud was asked"); return nil })
				}
				e := light(t, o, c.s, ignore...)
				var got Result
				switch way {
				case "file":
					got = e.ScanFile(t.Context(), path)
				case "reader":
					got = e.ScanReader(t.Context(), strings.NewReader("bad"))
				case "scan":
					got = slices.Collect(scanAll(t, e, ScanOptions{Cloud: cloud}, path))[0]
				default:
					got = slices.Collect(scanAll(t, e, ScanOptions{}, path))[0]
				}
				want := c.want
				want.Size = 3
				if way != "reader" {
					want.Path = path
				}
				if want.SHA256 = got.SHA256; got.SHA256 != hexSHA256("bad") && (got.Verdict.Finding() || got.SHA256 != "") {
					t.Errorf("%s: SHA-256 %q", way, got.SHA256)
				}
				if got != want {
					t.Errorf("%s:\ngot  %+v\nwant %+v", way, got, want)
				}
				var asked []dbformat.Algorithm
				for _, h := range cloud.asked() {
					asked = append(asked, h.Algorithm)
					r := listed(h.Algorithm, "bad", true, "")
					if h != (Hit{Algorithm: h.Algorithm, Sum: r.Hash, Size: 3, PUA: c.pua, Path: want.Path}) {
						t.Errorf("%s: asked about %+v", way, h)
					}
				}
				if !slices.Equal(asked, c.asked) || len(cloud.calls) > 1 {
					t.Errorf("%s: asked by %v in %d calls, want %v in one", way, asked, len(cloud.calls), c.asked)
				}
			}
		})
	}
}

func TestFullGenerationAsksNobody(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	g := d.install(t, 7, light, rest)
	cloud := &answers{by: map[dbformat.Algorithm]Settled{dbformat.SHA256: {Verdict: Clean}}}
	m := openMatcher(t, d, Options{Cloud: cloud}, time.Hour)
	path := write(t, filepath.Join(t.TempDir(), "one"), "one")
	check(t, m.ScanFile(t.Context(), path), Result{Path: path, Verdict: Malicious, Name: "Test.one", Signature: "hash/sha256", SHA256: hexSHA256("one"), Size: 3})

	// Not even where a damaged rest layer leaves a suspicion: the damage is what has to be put right.
	spoilBlock(t, d.file(*g.Rest), rest, 0)
	m = openMatcher(t, d, Options{Cloud: cloud}, time.Hour)
	if r := m.ScanFile(t.Context(), path); r.Verdict != Suspected || r.Err == nil || r.Why != "" {
		t.Errorf("got %+v, want it suspected with an error", r)
	}
	if asked := cloud.asked(); len(asked) > 0 {
		t.Errorf("the cloud was asked about %+v", asked)
	}

	// As soon as light is in use it is, with the release that the prefix is of. A look-up by hash asks nobody.
	g.Rest = nil
	d.set(g, nil)
	if err := m.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if nameOf(t, m, "one") == "" || len(cloud.asked()) > 0 {
		t.Error("a look-up by hash finds nothing, or asks")
	}
	for _, r := range []Result{m.ScanFile(t.Context(), path), m.ScanReader(t.Context(), strings.NewReader("one"))} {
		if r.Verdict != Clean || r.Source != SourceCloud {
			t.Errorf("got %+v, want what the cloud says", r)
		}
	}
	err := m.Scan(t.Context(), slices.Values([]string{path}), ScanOptions{}, func(r Result) {
		if r.Verdict != Clean || r.Source != SourceCloud {
			t.Errorf("got %+v, want what the cloud says", r)
		}
	})
	if asked := cloud.asked(); err != nil || len(asked) != 3 || asked[0].Release != 7 || asked[1].Release != 7 || asked[2].Release != 7 {
		t.Errorf("%v, asked about %+v; want three times, for release 7", err, asked)
	}
}

// What is clean for the cloud is not clean where something could not be read.
func TestACloudClearsNoError(t *testing.T) {
	cloud := &answers{by: map[dbformat.Algorithm]Settled{dbformat.SHA256: {Verdict: Clean}}}
	e := light(t, Options{Cloud: cloud}, sections{"hash/sha256": badBy(dbformat.SHA256, true, "A"), "hash/md5": badBy(dbformat.MD5, true, "B")})
	broken := errors.New("block is damaged")
	s := e.by[dbformat.MD5][0]
	s.light = brokenLayer{s.light, s.at, broken}
	s.prefixes[0].Store(nil)
	if r := e.ScanReader(t.Context(), strings.NewReader("bad")); r.Verdict != Failed || r.Err != broken || r.Name != "" || r.Signature != "" || len(cloud.asked()) != 1 {
		t.Errorf("got %+v after %d hits, want the error of the database", r, len(cloud.asked()))
	}
	// The same for an error of the object that was noticed after the look-up.
	l := look{e: e, cloud: cloud}
	var r Result
	o := object{size: 3}
	sum := listed(dbformat.SHA256, "bad", true, "").Hash
	o.have, o.sums[dbformat.SHA256] = o.have.with(dbformat.SHA256), sum[:]
	var decided tally
	l.verdict(&o, &decided, &r)
	l.suspect(&o, &decided, &r)
	r.fail(ErrChanged)
	l.open.now(t.Context(), cloud, &r)
	if r.Verdict != Failed || r.Err != ErrChanged {
		t.Errorf("got %+v, want ErrChanged", r)
	}
}

// A cloud can do what it wants: the program goes on, and what it has not settled properly stays suspected and says why.
func TestCloudsThatMisbehave(t *testing.T) {
	s := sections{"hash/sha256": badBy(dbformat.SHA256, true, "A"), "hash/md5": badBy(dbformat.MD5, true, "B")}
	e := light(t, Options{}, s)
	path := write(t, filepath.Join(t.TempDir(), "bad"), "bad")
	for name, c := range map[string]struct {
		cloud cloudFunc
		why   string
	}{
		"nothing":          {func(context.Context, []Hit) []Settled { return nil }, "the cloud gave 0 answers to 2 hits"},
		"one too few":      {func(_ context.Context, h []Hit) []Settled { return each(len(h)-1, Settled{Verdict: Clean}) }, "the cloud gave 1 answers to 2 hits"},
		"one too many":     {func(_ context.Context, h []Hit) []Settled { return each(len(h)+1, Settled{Verdict: Clean}) }, "the cloud gave 3 answers to 2 hits"},
		"a panic":          {func(context.Context, []Hit) []Settled { panic("out of order") }, "the cloud failed: out of order"},
		"an error":         {func(context.Context, []Hit) []Settled { panic(errors.New("out of order")) }, "the cloud failed: out of order"},
		"a fault":          {func(_ context.Context, h []Hit) []Settled { _ = h[len(h)]; return nil }, "the cloud failed: runtime error: index out of range [2] with length 2"},
		"a nil cloud":      {nil, "the cloud failed: runtime error: invalid memory address or nil pointer dereference"},
		"a long complaint": {func(context.Context, []Hit) []Settled { panic(strings.Repeat("x", 1<<20)) }, "the cloud failed: " + strings.Repeat("x", 200)},
		"an end":           {func(context.Context, []Hit) []Settled { runtime.Goexit(); return nil }, "the cloud gave no answer"},
		"no verdict":       {func(_ context.Context, h []Hit) []Settled { return each(len(h), Settled{}) }, `the cloud gave the unknown verdict ""`},
		"allowed": {func(_ context.Context, h []Hit) []Settled {
			return each(len(h), Settled{Verdict: Allowed, Name: "Good"})
		}, `the cloud gave the unknown verdict "allowed"`},
		"a new verdict": {func(_ context.Context, h []Hit) []Settled { return each(len(h), Settled{Verdict: "trusted"}) }, `the cloud gave the unknown verdict "trusted"`},
	} {
		t.Run(name, func(t *testing.T) {
			alone := light(t, Options{Cloud: c.cloud}, s)
			want := Result{Path: path, Verdict: Suspected, Name: prefixOf(dbformat.SHA256), Signature: "hash/sha256", SHA256: hexSHA256("bad"), Size: 3, Why: c.why}
			check(t, alone.ScanFile(t.Context(), path), want)
			got := slices.Collect(scanAll(t, e, ScanOptions{Cloud: c.cloud, Jobs: 2}, slices.Repeat([]string{path}, 300)...))
			if len(got) != 300 {
				t.Fatalf("%d results, want 300", len(got))
			}
			for _, r := range got {
				if !strings.HasPrefix(r.Why, "the cloud ") {
					t.Fatalf("in a scan: %+v", r)
				}
				r.Why = c.why // but for numbers, which are those of a batch
				check(t, r, want)
			}
		})
	}
}

// The hits are the cloud's own: what it writes to them goes nowhere.
func TestHitsAreTheCloudsOwn(t *testing.T) {
	e := light(t, Options{Cloud: cloudFunc(func(_ context.Context, h []Hit) []Settled {
		clear(h)
		return each(len(h), Settled{Verdict: Malicious})
	})}, sections{"hash/sha256": badBy(dbformat.SHA256, true, "")})
	if r := e.ScanReader(t.Context(), strings.NewReader("bad")); r.Name != "Hash.SHA256."+hexSHA256("bad")[:16] || r.Signature != "hash/sha256" {
		t.Errorf("got %+v", r)
	}
}

// A single object is asked about at once. If the cloud does not come back, neither with its own deadline nor when its context ends, the
// suspicion stands after 30 seconds, and the caller is not held up much longer.
func TestSingleObjectsWaitForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		var ended error
		for name, c := range map[string]struct {
			cloud cloudFunc
			takes time.Duration
			why   string
		}{
			"quick": {func(_ context.Context, h []Hit) []Settled { return each(len(h), Settled{Verdict: Clean}) }, 0, ""},
			"slow": {func(_ context.Context, h []Hit) []Settled {
				time.Sleep(29 * time.Second)
				return each(len(h), Settled{Verdict: Clean})
			}, 29 * time.Second, ""},
			"late": {func(ctx context.Context, h []Hit) []Settled {
				<-ctx.Done()
				ended = ctx.Err()
				return each(len(h), Settled{Verdict: Clean})
			}, 30 * time.Second, "the cloud has not answered within 30s"},
			"forever": {func(context.Context, []Hit) []Settled { <-never; return nil }, 31 * time.Second, "the cloud has not answered within 30s"},
		} {
			e := light(t, Options{Cloud: c.cloud}, sections{"hash/sha256": badBy(dbformat.SHA256, true, "")})
			begin := time.Now()
			r := e.ScanReader(t.Context(), strings.NewReader("bad"))
			if took := time.Since(begin); took != c.takes || r.Why != c.why || (r.Verdict == Suspected) != (c.why != "") {
				t.Errorf("%s: %+v after %s, want %q after %s", name, r, took, c.why, c.takes)
			}
		}
		if ended != context.Canceled {
			t.Errorf("the context of the late call ended with %v", ended)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		e := light(t, Options{Cloud: cloudFunc(func(ctx context.Context, h []Hit) []Settled { <-ctx.Done(); return nil })}, sections{"hash/sha256": badBy(dbformat.SHA256, true, "")})
		if r := e.ScanReader(ctx, strings.NewReader("bad")); r.Verdict != Suspected || r.Why == "" || time.Since(begin) != 3*time.Second {
			t.Errorf("with a context that ends: %+v after %s", r, time.Since(begin))
		}
		close(never)
	})
}

// A client that settles nothing sees no new field.
func TestResultsWithoutACloudLookAsEver(t *testing.T) {
	e := light(t, Options{}, sections{"hash/sha256": badBy(dbformat.SHA256, true, "")})
	r := e.ScanReader(t.Context(), strings.NewReader("bad"))
	b, err := json.Marshal(r)
	want := fmt.Sprintf(`{"path":"","verdict":"suspected","name":%q,"signature":"hash/sha256","source":"local","sha256":%q,"size":3,"error":""}`, prefixOf(dbformat.SHA256), hexSHA256("bad"))
	if err != nil || string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	r.Age, r.Why = 7, "because"
	if b, err := json.Marshal(r); err != nil || !strings.Contains(string(b), `"age":7,"why":"because"`) {
		t.Errorf("got %s, %v", b, err)
	}
}
