package matcher

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
	"example.org/avdb/urlhash"
)

var urlSection = dbformat.ClassURL.Section(dbformat.SHA256)

// listedURL is the record of an expression.
func listedURL(expression, name string) dbformat.Record {
	return dbformat.Record{Hash: urlhash.HashOf(expression), Name: name}
}

// randomURLs makes up to n records, some of them with hashes that files have as well.
func randomURLs(rng *rand.Rand, c *dbformat.Content, n int, s shape) []dbformat.Record {
	all := randomRecords(rng, dbformat.SHA256, rng.IntN(n+1), s)
	for id, records := range c.Sections {
		if id.Algorithm() == dbformat.SHA256 {
			all = append(all, records[:len(records)/3]...)
		}
	}
	seen := map[[32]byte]bool{}
	var out []dbformat.Record
	for _, r := range all {
		if r.Size = dbformat.AnySize; !seen[r.Hash] {
			seen[r.Hash] = true
			out = append(out, r)
		}
	}
	return out
}

// answerURL is the oracle: the first hash that is listed exactly, or with light alone the first whose prefix is.
func (m naive) answerURL(hashes []urlhash.Hash, prefix uint8) (v Verdict, name string, at int) {
	for i, h := range hashes {
		for _, r := range m.c.Sections[urlSection] {
			if r.Name == "" {
				r.Name = urlSection.DefaultName(r.Hash[:])
			}
			switch {
			case !m.full && same(r.Hash[:], h[:], int(prefix)):
				return Suspected, "Prefix.URL." + fmt.Sprintf("%x", h)[:prefix/4], i
			case m.full && r.Hash == h && !slices.Contains(m.c.Ignore, r.Name):
				return Malicious, r.Name, i
			}
		}
	}
	return Clean, "", -1
}

// urlQuestions are lists of hashes as URLs have them: listed ones, neighbours that share a prefix, hashes of files, strangers.
func urlQuestions(rng *rand.Rand, c *dbformat.Content) (qs [][]urlhash.Hash) {
	var pool []dbformat.Record
	for id, records := range c.Sections {
		if id.Algorithm() == dbformat.SHA256 {
			pool = append(pool, records...)
		}
	}
	pool = append(pool, c.Sections[urlSection]...)
	for range 60 {
		q := make([]urlhash.Hash, 1+rng.IntN(urlhash.MaxExpressions))
		for i := range q {
			randomHash(rng, q[i][:])
			if len(pool) > 0 && rng.IntN(8) == 0 {
				if q[i] = pool[rng.IntN(len(pool))].Hash; rng.IntN(2) == 0 {
					q[i][4+rng.IntN(28)] ^= 1 << rng.IntN(8)
				}
			}
		}
		qs = append(qs, q)
	}
	return qs
}

// Whatever the content, its parameters and the shape of its hashes: a URL gets the verdict that a search through all records gives, with the
// index, without it, and no file is known by the hash of a URL or the other way round.
func TestEveryAnswerAboutAURLIsTheNaiveOne(t *testing.T) {
	seen := map[Verdict]int{}
	for _, s := range shapes {
		for i, n := range []int{1, 20, 40, 300} {
			rng := rand.New(rand.NewPCG(uint64(n), uint64(50+i)))
			c := randomContent(rng, n, s)
			p := randomParams(rng, c)
			light, rest, err := dbformat.Build(c, p)
			if err != nil {
				t.Fatalf("%s, %d records: %v", s.name, n, err)
			}
			for _, full := range []bool{false, true} {
				m, layer := naive{c: c, full: full}, dbformat.LayerReader(nil)
				if full {
					layer = rest
				}
				e, err := OpenGeneration(light, layer, Options{})
				if err != nil {
					t.Fatal(err)
				}
				for round := range 2 {
					for _, q := range urlQuestions(rng, c) {
						verdict, name, at := m.answerURL(q, p.URLPrefix)
						seen[verdict]++
						want := Result{Verdict: verdict, Name: name, Source: SourceLocal, Size: -1}
						if at >= 0 {
							want.Signature, want.SHA256 = "url/sha256", fmt.Sprintf("%x", q[at])
						}
						var got Result
						if err := e.lookupURL(q, &got); err != nil || got != want {
							t.Fatalf("%s, %d records, full %t, index %t: %+v, %v; want %+v", s.name, n, full, round == 0, got, err, want)
						}
					}
					for i := range e.index.pieces { // the second round does without
						e.index.pieces[i].Store(&e.index.none)
					}
				}
			}
		}
	}
	for _, v := range []Verdict{Clean, Suspected, Malicious} {
		if seen[v] < 300 {
			t.Errorf("%d answers were %s: the test asks too little", seen[v], v)
		}
	}
}

func mustURL(t testing.TB, raw string) urlhash.URL {
	t.Helper()
	u, err := urlhash.Canonicalize(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A listed domain covers its pages and the hosts below it, a page itself alone; of several the most specific names the finding.
func TestLookupURL(t *testing.T) {
	s := sections{
		"url/sha256": {listedURL("evil.example/", "Phish.Domain"), listedURL("shop.example/pay/", "Phish.Folder"), listedURL("a.evil.example/x?y=1", "A.Page"),
			listedURL("quiet.example/", "Gone"), listedURL("plain.example/", "")},
		"hash/sha256":  {listedURL("file.example/", "File")},
		"allow/sha256": {listedURL("evil.example/", "No.Business.Of.URLs")},
	}
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{}, Ignore: []string{"Gone"}}
	for name, records := range s {
		id, err := dbformat.ParseSection(name)
		if err != nil {
			t.Fatal(err)
		}
		c.Sections[id] = records
	}
	p := dbformat.ChooseParams(c, nil)
	light, rest, err := dbformat.Build(c, p)
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]struct{ name, expression string }{
		"http://evil.example/":           {"Phish.Domain", "evil.example/"},
		"https://x.Evil.Example:8080/a":  {"Phish.Domain", "evil.example/"},
		"http://b.a.evil.example/x?y=1":  {"A.Page", "a.evil.example/x?y=1"},
		"http://a.evil.example/x":        {"Phish.Domain", "evil.example/"},
		"http://shop.example/pay/now?x":  {"Phish.Folder", "shop.example/pay/"},
		"http://plain.example/%61":       {"URL.SHA256." + fmt.Sprintf("%x", urlhash.HashOf("plain.example/"))[:16], "plain.example/"},
		"http://shop.example/":           {},
		"http://example/":                {},
		"http://notevil.example/":        {},
		"http://evil.example.other.org/": {},
		"http://file.example/":           {},
		"http://quiet.example/":          {"", "quiet.example/"}, // light cannot know that its name is ignored
	} {
		u := mustURL(t, raw)
		for _, layer := range []dbformat.LayerReader{nil, rest} {
			wanted := Result{Verdict: Clean, Source: SourceLocal, Size: -1}
			if want.expression != "" && (layer == nil || want.name != "") {
				wanted.Verdict, wanted.Name = Malicious, want.name
				wanted.Signature, wanted.SHA256 = "url/sha256", fmt.Sprintf("%x", urlhash.HashOf(want.expression))
				if layer == nil {
					wanted.Verdict, wanted.Name = Suspected, "Prefix.URL."+wanted.SHA256[:p.URLPrefix/4]
				}
			}
			e, err := OpenGeneration(light, layer, Options{PUA: true, Overrides: func([32]byte) (Verdict, string, bool) { t.Error("overrides are about files"); return Allowed, "", true }})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := e.LookupURL(u); err != nil || got != wanted {
				t.Errorf("%s, full %t: %+v, %v; want %+v", raw, layer != nil, got, err, wanted)
			}
		}
	}
}

// What is no URL is not clean, and a generation without URLs knows none.
func TestLookupURLOfNothing(t *testing.T) {
	with := full(t, Options{}, sections{"url/sha256": {listedURL("evil.example/", "")}})
	without := full(t, Options{}, sections{"hash/md5": {listed(dbformat.MD5, "bad", true, "")}})
	for _, e := range []*Engine{with, without} {
		if r, err := e.LookupURL(urlhash.URL{}); !errors.Is(err, ErrInput) || r.Verdict != Failed || r.Err != err {
			t.Errorf("the zero URL: %+v, %v; want ErrInput", r, err)
		}
	}
	if r, err := without.LookupURL(mustURL(t, "evil.example")); err != nil || r.Verdict != Clean {
		t.Errorf("without URLs: %+v, %v", r, err)
	}
	if with.URLs() != 1 || without.URLs() != 0 || len(with.Counts()) != 0 || with.Records() != 1 {
		t.Errorf("%d and %d URLs, files %v", with.URLs(), without.URLs(), with.Counts())
	}
}

// URLs cost files nothing: they bring no hash function that is not needed otherwise.
func TestURLsAreNoReasonToHashFiles(t *testing.T) {
	e := full(t, Options{}, sections{"url/sha256": {listedURL("evil.example/", "")}, "hash/md5": {listed(dbformat.MD5, "bad", true, "")}})
	if got := e.algorithms(true, anySize, &tally{}); got != algSet(0).with(dbformat.MD5) {
		t.Errorf("algorithms %b, want MD5 alone", got)
	}
	if r := e.ScanReader(t.Context(), strings.NewReader("evil.example/")); r.Verdict != Clean { // the very text whose hash is listed
		t.Errorf("a file: %+v", r)
	}
}

func TestWithURLPrefixesRefuses(t *testing.T) {
	s := sections{"url/sha256": {listedURL("evil.example/", "")}}
	e := full(t, Options{}, s)
	never := func(int, Known) bool { t.Error("visited"); return true }
	for _, c := range []struct {
		bits  uint8
		value uint32
	}{{0, 0}, {15, 0}, {33, 0}, {16, 1 << 16}} {
		if err := e.WithURLPrefixes(c.bits, []uint32{c.value}, never); !errors.Is(err, ErrInput) {
			t.Errorf("%+v: %v, want ErrInput", c, err)
		}
	}
	light, _ := generation(t, s)
	l, err := OpenGeneration(light, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.WithURLPrefixes(24, []uint32{0}, never); !errors.Is(err, ErrNotFull) {
		t.Errorf("over light: %v, want ErrNotFull", err)
	}
	if err := full(t, Options{}, sections{}).WithURLPrefixes(24, []uint32{0}, never); err != nil {
		t.Errorf("without URLs: %v", err)
	}
}

// A matcher follows to a generation with URLs and back, and what it says of URLs is of the one in use.
func TestMatcherLooksURLsUp(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, time.Hour)
	u := mustURL(t, "http://www.evil.example/")
	ask := func(want Verdict, urls uint64) {
		t.Helper()
		n := 0
		h := urlhash.HashOf("evil.example/")
		release, err := m.WithURLPrefixes(16, []uint32{uint32(h[0])<<8 | uint32(h[1])}, func(int, Known) bool { n++; return true })
		if r, e := m.LookupURL(u); e != nil || err != nil || r.Verdict != want || m.URLs() != urls || n != int(urls) || release != m.Generation().Version {
			t.Errorf("%+v, %v, %d URLs, %d visited of release %d, %v; want %s and %d", r, e, m.URLs(), n, release, err, want, urls)
		}
	}
	ask(Clean, 0)
	with, withRest := generation(t, sections{"url/sha256": {listedURL("evil.example/", "Phish")}})
	for i, step := range []struct {
		light, rest *dbformat.MemLayer
		want        Verdict
		urls        uint64
	}{{with, withRest, Malicious, 1}, {light, rest, Clean, 0}} {
		d.install(t, uint64(2+i), step.light, step.rest)
		if err := m.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		ask(step.want, step.urls)
	}
	m.Close()
	if _, err := m.LookupURL(u); !errors.Is(err, ErrClosed) || m.URLs() != 0 {
		t.Errorf("after Close: %v", err)
	}
	if _, err := m.WithURLPrefixes(16, []uint32{0}, func(int, Known) bool { return true }); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Damage is never "clean": with a rest that cannot be read a listed URL stays suspected, with a light that cannot be read it is an error.
func TestURLsOverDamage(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // a mapped file cannot be cut there
	}
	for name, want := range map[string]Verdict{"light": Failed, "rest": Suspected} {
		for _, how := range []string{"flipped", "cut"} {
			d := newDevice(t)
			urls := []dbformat.Record{listedURL("evil.example/", "Phish")}
			for i := range 500 { // files of several pages
				urls = append(urls, listedURL(fmt.Sprintf("evil-%d.example/", i), "Phish.Other"))
			}
			light, rest := generation(t, sections{"url/sha256": urls})
			g := d.install(t, 1, light, rest)
			openMatcher(t, d, Options{}, time.Hour) // stores the index
			path := map[string]string{"light": d.file(g.Light), "rest": d.file(*g.Rest)}[name]
			if how == "flipped" {
				spoilBlock(t, path, map[string]*dbformat.MemLayer{"light": light, "rest": rest}[name], 0)
			}
			m := openMatcher(t, d, Options{}, time.Hour)
			if how == "cut" {
				if err := os.Truncate(path, 0); err != nil {
					t.Fatal(err)
				}
			}
			r, err := m.LookupURL(mustURL(t, "evil.example"))
			if r.Verdict == Clean || r.Verdict == Malicious || how == "flipped" && r.Verdict != want || !errors.Is(err, store.ErrStorage) || !errors.Is(m.Err(), store.ErrStorage) {
				t.Errorf("%s %s: %+v, %v, Err %v; want %s and ErrStorage", name, how, r, err, m.Err(), want)
			}
		}
	}
}

var missed = "http://a.b.c.d.good.example/1/2/3/4/5.html?x=1"

// A look-up that finds nothing allocates what making the hashes allocates.
func TestLookupURLAllocatesNothingButTheHashes(t *testing.T) {
	var urls []dbformat.Record
	for i := range 1000 {
		urls = append(urls, listedURL(fmt.Sprintf("evil-%d.example/", i), ""))
	}
	e := full(t, Options{}, sections{"url/sha256": urls})
	u := mustURL(t, missed)
	hashes := testing.AllocsPerRun(100, func() { _ = u.Hashes() })
	got := testing.AllocsPerRun(100, func() {
		if r, err := e.LookupURL(u); err != nil || r.Verdict != Clean {
			t.Fatalf("%+v, %v", r, err)
		}
	})
	if got != hashes {
		t.Errorf("%v allocations, the hashes take %v", got, hashes)
	}
}

// BenchmarkLookupURLMiss: a URL with all of 30 expressions against a list of domains.
func BenchmarkLookupURLMiss(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		urls := make([]dbformat.Record, n)
		for i := range urls {
			urls[i] = listedURL(fmt.Sprintf("evil-%d.example/", i), "")
		}
		e := full(b, Options{}, sections{"url/sha256": urls})
		u := mustURL(b, missed)
		b.Run(fmt.Sprintf("records=%d/expressions=%d", n, len(u.Hashes())), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, err := e.LookupURL(u); err != nil || r.Verdict != Clean {
					b.Fatalf("%+v, %v", r, err)
				}
			}
		})
	}
}

// FuzzLookupURL: of any URL a database of one entry knows the very same as a look through the URL's expressions.
func FuzzLookupURL(f *testing.F) {
	for _, s := range [][2]string{{"evil.example", "http://www.evil.example/a"}, {"http://evil.example/a/b?x=1", "evil.example/a/b"}, {"0x7f.1", "127.0.0.1:80"},
		{"github.io/", "user.github.io"}, {"https://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC?q"}, {"a.b.c.d.e.example", "x.a.b.c.d.e.example"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, line, raw string) {
		entry, err := urlhash.ParseEntry(line)
		if err != nil {
			return
		}
		u, err := urlhash.Canonicalize(raw)
		if err != nil {
			return
		}
		light, rest := generation(t, sections{"url/sha256": {listedURL(entry, "Test")}})
		for _, rest := range []dbformat.LayerReader{nil, rest} {
			e, err := OpenGeneration(light, rest, Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := Clean
			if slices.Contains(u.Expressions(), entry) {
				if want = Malicious; rest == nil {
					want = Suspected
				}
			}
			if got, err := e.LookupURL(u); err != nil || got.Verdict != want {
				t.Fatalf("%q in a database of %q: %+v, %v; want %s", u, entry, got, err, want)
			}
		}
	})
}
