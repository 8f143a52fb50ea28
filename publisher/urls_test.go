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
	if len(v) != 3 || v[0].Section != "url/sha256" || string(v[0].Content) != selfTestURL || v[0].Light != dbformat.ExpectSuspected || v[0].Full != dbformat.ExpectMalicious {
		t.Errorf("vectors %+v", v)
	}
	if records := c.Content.Sections[urlSection]; len(records) != 2 || !slices.ContainsFunc(records, func(r dbformat.Record) bool {
		return r.Name == "Avdb.SelfTest.url/sha256" && r.Hash == urlhash.HashOf(selfTestExpression) && r.Size == dbformat.AnySize
	}) {
		t.Errorf("records %+v", records)
	}
	if u, err := urlhash.Canonicalize(selfTestURL); err != nil || u.String() != selfTestURL || u.Expressions()[0] != selfTestExpression {
		t.Errorf("%q, %v", u, err)
	}
	for _, line := range []string{selfTestURL, "ftp://Self-Test.avdb.invalid:1/no-threat"} {
		if c := mustCompile(t, map[string]string{"a.urls": line + "\nevil.example\n"}, nil); c.Rejected != 1 || c.Rejects[0].Reason != reasonSelfTest {
			t.Errorf("%q: %+v", line, c.Rejects)
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
	if r := s.publish(); len(r.Warnings) != 0 || len(r.Layers.Light.Deltas) != 1 {
		t.Errorf("report %+v", r)
	}
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
