package publisher

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/urlhash"
)

// listedURL is what section shows of an expression.
func listedURL(expression string) string { return fmt.Sprintf("%x:0:", urlhash.HashOf(expression)) }

// Each line of a .urls source is one expression or a reject with urlhash's reason; spellings of one URL are duplicates.
func TestEachLineOfURLsIsCountedOnce(t *testing.T) {
	ignored := urlhash.HashOf("gone.example/")
	c := mustCompile(t, map[string]string{
		"a.urls":    "# comment\r\n\n  evil.example  \nHTTPS://Evil.Example:443\nhttp://evil.example/a/../b?x=1\nco.uk\n*.evil.example\nevil.example#x\ngone.example\n",
		"b.urls.gz": gzipped(t, "0x7f.1\nevil.example/b?x=1\n"),
		"c.URLS":    "github.io\ngithub.io/\n" + strings.Repeat("x", MaxLine+1) + "\n",
		"d.ign2":    fmt.Sprintf("URL.SHA256.%x\n", ignored[:8]),
	}, nil)
	if want := (Counts{Accepted: 8 - 1 + 1, Rejected: 5, Duplicates: 2, Ignored: 1}); c.Counts != want {
		t.Errorf("counts %+v, want %+v", c.Counts, want)
	}
	var rejects []string
	for _, r := range c.Rejects {
		rejects = append(rejects, fmt.Sprintf("%s:%d: %.40s", filepath.Base(r.File), r.Line, r.Reason))
	}
	want := []string{"a.urls:6: host is a registry's public suffix, belo", "a.urls:7: host has something else than letters, di", "a.urls:8: line holds a fragment, which no look-up ",
		"c.URLS:1: domain is a public suffix, below which s", "c.URLS:3: line is longer than 65536 bytes"}
	if !slices.Equal(rejects, want) {
		t.Errorf("rejects\n%s\nwant\n%s", strings.Join(rejects, "\n"), strings.Join(want, "\n"))
	}
	urls := []string{listedURL("evil.example/"), listedURL("evil.example/b?x=1"), listedURL("127.0.0.1/"), listedURL("github.io/")}
	slices.Sort(urls)
	if got := section(c.Content, urlSection); !slices.Equal(got, urls) {
		t.Errorf("URLs %q, want %q", got, urls)
	}
	for id := range c.Content.Sections {
		if id != urlSection {
			t.Errorf("URLs made records of %s", id)
		}
	}
}

// A line that is rejected for what stands around its URL, or for its port, is one reject: the lines around it are read as they are without it.
func TestRejectedURLsChangeNothingAroundThem(t *testing.T) {
	good := []string{"a.example", "  b.example ", "c.example:65535", "http://d.example:1/x"}
	bad := []string{"\tevil.example", "evil.example\t", " \v evil.example", "\x00evil.example", "evil.example:65536", "http://evil.example:99999/a"}
	var with strings.Builder
	for i := range bad {
		fmt.Fprintf(&with, "%s\n%s\r\n", bad[i], good[i%len(good)])
	}
	a := mustCompile(t, map[string]string{"a.urls": with.String()}, nil)
	b := mustCompile(t, map[string]string{"a.urls": strings.Join(good, "\n")}, nil)
	if int(a.Rejected) != len(bad) || int(a.Accepted) != len(bad) || b.Rejected != 0 || int(b.Accepted) != len(good) {
		t.Errorf("counts %+v with, %+v without", a.Counts, b.Counts)
	}
	for i, r := range a.Rejects {
		if r.Line != 2*i+1 || r.Reason == "" {
			t.Errorf("reject %s, want one of line %d", r, 2*i+1)
		}
	}
	if with, without := section(a.Content, urlSection), section(b.Content, urlSection); !slices.Equal(with, without) {
		t.Errorf("URLs %q with, %q without", with, without)
	}
}

// An ignore line with the MD5 of a line holds as long as that line is spelled like that.
func TestAURLIsIgnoredByItsLine(t *testing.T) {
	h := urlhash.HashOf("evil.example/")
	ignore := fmt.Sprintf("URL.SHA256.%x:%x\n", h[:8], md5Of("evil.example"))
	for text, want := range map[string]uint64{"evil.example\n": 1, "http://evil.example\n": 0} {
		if c := mustCompile(t, map[string]string{"a.urls": text + "other.example\n", "b.ign2": ignore}, nil); c.Ignored != want || len(section(c.Content, urlSection)) != 2-int(want) {
			t.Errorf("%q: %d ignored, URLs %q", text, c.Ignored, section(c.Content, urlSection))
		}
	}
}

func md5Of(s string) []byte { h := sum(dbformat.MD5, []byte(s)); return h[:16] }

// The section of URLs tests itself with a URL. What tests files stays what it was: neither what allow records cancel nor the benign texts
// have anything to do with URLs.
func TestTheSelfTestOfURLs(t *testing.T) {
	c := mustCompile(t, map[string]string{"a.urls": "evil.example\n", "b.sfp": strings.Repeat("0a", 32) + ":5:ok\n"}, nil)
	v := c.Content.Vectors
	if len(v) != 4 || v[0].Section != "url/sha256" || string(v[0].Content) != selfTestURL || v[0].Light != dbformat.ExpectSuspected || v[0].Full != dbformat.ExpectMalicious {
		t.Fatalf("vectors %+v", v)
	}
	if records := c.Content.Sections[urlSection]; len(records) != 2 || !slices.ContainsFunc(records, func(r dbformat.Record) bool {
		return r.Name == "Avdb.SelfTest.url/sha256" && r.Hash == urlhash.HashOf(selfTestExpression) && r.Size == dbformat.AnySize
	}) {
		t.Errorf("records %+v", records)
	}
	if u, err := urlhash.Canonicalize(selfTestURL); err != nil || u.String() != selfTestURL || u.Expressions()[0] != selfTestExpression {
		t.Errorf("%q, %v", u, err)
	}
	if last := v[3]; last.Section != "url/sha256" || string(last.Content) != "http://avdb-no-threat-0.invalid/" || last.Light != dbformat.ExpectClean || last.Full != dbformat.ExpectClean {
		t.Errorf("benign URL %+v", last)
	}
	for i := range benignSpares {
		url, expression := benignURL(i)
		if u, err := urlhash.Canonicalize(url); err != nil || u.String() != url || !slices.Equal(u.Expressions(), []string{expression}) {
			t.Errorf("%q has the expressions %q, %v", url, u.Expressions(), err)
		}
	}
	for _, line := range []string{selfTestURL, "ftp://Self-Test.avdb.invalid:1/no-threat", "avdb-no-threat-0.invalid", "https://avdb-no-threat-15.invalid"} {
		if c := mustCompile(t, map[string]string{"a.urls": line + "\nevil.example\n"}, nil); c.Rejected != 1 || c.Rejects[0].Reason != reasonSelfTest {
			t.Errorf("%q: %+v", line, c.Rejects)
		}
	}
}

// A benign URL whose hash begins as that of a signature is passed over, whatever width of prefixes the release before left; when all are hit
// there is none, which is better than a release that every endpoint refuses.
func TestTheBenignURLIsOneThatNoPrefixHits(t *testing.T) {
	for hits := range benignSpares + 1 {
		// Prefixes chosen for a fourth of the records are the narrowest that may be left.
		n := uint64(hits + 1)
		few := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{urlSection: make([]dbformat.Record, (n+3)/4)}}
		p := dbformat.ChooseParams(few, nil).URLPrefix
		records := []dbformat.Record{{Hash: urlhash.HashOf("evil.example/"), Size: dbformat.AnySize}}
		for i := range hits {
			_, expression := benignURL(i)
			near := dbformat.Record{Hash: urlhash.HashOf(expression), Size: dbformat.AnySize}
			near.Hash[p/8] ^= 0x80 >> (p % 8) // the first bit behind the prefix
			records = append(records, near)
		}
		slices.SortFunc(records, func(a, b dbformat.Record) int { return compareKeys(&a, &b) })
		c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{urlSection: records}}
		if got := dbformat.ChooseParams(c, &dbformat.Params{URLRows: (n + 3) / 4, URLPrefix: p}).URLPrefix; got != p {
			t.Fatalf("%d records have prefixes of %d bits, want %d", n, got, p)
		}
		want := ""
		if hits < benignSpares {
			want, _ = benignURL(hits)
		}
		if got := string(benignURLContent(records)); got != want {
			t.Errorf("%d are hit: %q is chosen, want %q", hits, got, want)
		}
	}
}

// The policy about whole signatures is one about files.
func TestURLsAreNeverWhole(t *testing.T) {
	p := DefaultPolicy()
	p.names = []string{"*"}
	c := mustCompile(t, map[string]string{"a.urls": "evil.example\n", "b.hsb": line(1, 1, "A")}, p)
	if len(section(c.Content, urlSection)) != 1 || len(section(c.Content, wholeSHA256)) != 1 {
		t.Errorf("sections %v", c.Content.Sections)
	}
}

func domains(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "site-%d.example\n", i)
	}
	return b.String()
}

// Only a release with URLs asks for an engine that knows them; a list of URLs that comes and goes costs files no bundle, and its own
// changes are deltas, whether or not the private state is lost.
func TestReleasesWithAndWithoutURLs(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 5000, "A"))
	s.publish()
	if r := s.record().Stable; r.MinEngine != 1 {
		t.Errorf("release 1 asks for level %d", r.MinEngine)
	}
	s.put("u.urls", domains(0, 400))
	r := s.publish()
	if got := s.record().Stable; got.MinEngine != 2 || got.Light.Records != 5000+1+400+1 {
		t.Errorf("release %+v", got)
	}
	if len(r.Layers.Light.Deltas) != 1 || len(r.Layers.Rest.Deltas) != 1 {
		t.Errorf("no deltas to URLs: %+v", r.Layers)
	}
	state := filepath.Join(s.dir, "state", "state.json")
	b, err := os.ReadFile(state)
	if err != nil || !strings.Contains(string(b), `"url_prefix": 36`) { // 401 x 30: 14 bits, and 22
		t.Errorf("state %.300s, %v", b, err)
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	s.put("u.urls", domains(0, 900)) // a width that is chosen anew would be 40
	r = s.publish()
	if len(r.Layers.Light.Deltas) != 1 || len(r.Layers.Rest.Deltas) != 1 {
		t.Errorf("no deltas among URLs: %+v", r.Layers)
	}
	if err := os.Remove(filepath.Join(s.src, "u.urls")); err != nil {
		t.Fatal(err)
	}
	r = s.publish()
	if got := s.record().Stable; got.MinEngine != 1 || len(r.Layers.Light.Deltas) < 2 {
		t.Errorf("release %+v without URLs: %+v", got, r.Layers)
	}
	s.check()
}

// A state that an earlier version wrote says nothing of URLs and is used as it is.
func TestAStateWithoutURLsIsRead(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 500, "A"))
	s.publish()
	name := filepath.Join(s.dir, "state", "state.json")
	b, err := os.ReadFile(name)
	if err != nil || strings.Contains(string(b), "url_") {
		t.Fatalf("state %.300s, %v: what an earlier version wrote has no word of URLs", b, err)
	}
	var v struct {
		Params struct{ Rows uint64 }
	}
	if err := json.Unmarshal(b, &v); err != nil || v.Params.Rows == 0 {
		t.Fatal(err)
	}
	s.put("u.urls", domains(0, 10))
	if r := s.publish(); len(levelWarnings(r)) != len(r.Warnings) || len(r.Layers.Light.Deltas) != 1 {
		t.Errorf("report %+v", r)
	}
}

// levelWarnings are those about engines that are too old for a release.
func levelWarnings(r *Report) []string {
	return slices.DeleteFunc(slices.Clone(r.Warnings), func(w string) bool { return !strings.Contains(w, "needs engine level") })
}

// The first list of URLs after a release without one ends the updates of engines from before URLs: who publishes it is told so, once for each time.
func TestPublishWarnsOfAHigherEngineLevel(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	quiet := func(what string, o ...func(*Options)) {
		t.Helper()
		if r := s.publish(o...); len(levelWarnings(r)) != 0 {
			t.Errorf("%s: warnings %q", what, r.Warnings)
		}
	}
	warned := func(what, want string, o ...func(*Options)) {
		t.Helper()
		if w := levelWarnings(s.publish(o...)); len(w) != 1 || w[0] != want {
			t.Errorf("%s: warnings %q, want %q", what, w, want)
		}
	}
	const text = "release %d needs engine level 2, release %d needed level 1: the new one has signatures of URLs (.urls sources, section url/sha256); " +
		"endpoints with an engine below level 2 end each update with exit code 17 and keep what they have, until avdb is updated there or a release is without"
	s.put("a.hsb", lines(0, 50, "A"))
	quiet("the first release")
	s.put("u.urls", domains(0, 4))
	warned("prepared for other hosts to sign", fmt.Sprintf(text, 2, 1), func(o *Options) { o.Unsigned = true })
	warned("the first URLs", fmt.Sprintf(text, 3, 1))
	quiet("the same content")
	s.put("u.urls", domains(0, 5))
	quiet("more URLs")
	if err := os.Remove(filepath.Join(s.src, "u.urls")); err != nil {
		t.Fatal(err)
	}
	quiet("no URLs any more")
	s.put("u.urls", domains(0, 5))
	warned("URLs again", fmt.Sprintf(text, 6, 5))

	s = newShop(t)
	s.put("u.urls", domains(0, 4))
	quiet("a first release with URLs, which no endpoint has another one before")
}

// URLs count in the guards like other records.
func TestAGuardRefusesTheLossOfMostURLs(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("u.urls", domains(0, 12000))
	s.publish()
	s.put("u.urls", domains(0, 6000)+domains(20000, 30000))
	if _, err := Publish(t.Context(), s.options()); err == nil || !strings.Contains(err.Error(), "it removes 6000 of 12001 records of light") {
		t.Errorf("error %v", err)
	}
	s.put("u.urls", domains(3000, 14000))
	if r := s.publish(); !r.Published {
		t.Errorf("report %+v", r)
	}
}
