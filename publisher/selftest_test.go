package publisher_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
	"example.org/avdb/publisher"
	"example.org/avdb/urlhash"
)

// every source kind with every algorithm, and what is placed for light and for rest: all sections that the formats have.
var allSections = map[string]string{
	"a.hdb":  strings.Repeat("0a", 16) + ":5:A\n" + strings.Repeat("0a", 20) + ":5:A\n" + strings.Repeat("0a", 32) + ":5:A\n",
	"b.hdb":  strings.Repeat("0b", 16) + ":5:Held.B\n" + strings.Repeat("0b", 20) + ":5:Held.B\n" + strings.Repeat("0b", 32) + ":5:Held.B\n",
	"c.hdu":  strings.Repeat("0c", 16) + ":5:C\n" + strings.Repeat("0c", 20) + ":5:C\n" + strings.Repeat("0c", 32) + ":5:C\n",
	"d.hsu":  strings.Repeat("0d", 16) + ":5:Held.D\n" + strings.Repeat("0d", 20) + ":5:Held.D\n" + strings.Repeat("0d", 32) + ":5:Held.D\n",
	"e.fp":   strings.Repeat("0e", 16) + ":5:E\n" + strings.Repeat("0e", 20) + ":5:E\n" + strings.Repeat("0e", 32) + ":5:E\n",
	"f.ign2": "Nobody.Has.This.Name\n",
	"g.urls": "evil.example\nhttp://evil.example/page?x=1\n",
	"h.ndb":  "Held.H:0:*:a1b2c3d4\nHeld.P:1:EP+0:a1b2??d4{-9}e5f60718\n",
	"i.ldb":  "I;Target:0;0&1;a1b2c3d4;e5f6::iw\nJ;Engine:81-255,Target:1,NumberOfSections:9-9;0=0;a1b2\n",
	"j.ldu":  "Held.J;Target:0;(0|1)>2;a1b2c3d4e5;(61|62)63646566\nJ;Target:6;0;a1b2c3d4e5f6\n",
	"k.mdb":  "512:" + strings.Repeat("0b", 16) + ":Held.K\n513:" + strings.Repeat("0b", 16) + ":K\n",
	"l.msu":  "512:" + strings.Repeat("0c", 20) + ":Held.L\n*:" + strings.Repeat("0c", 32) + ":L:73\n",
}

func TestTheMatcherPassesTheSelfTestOfEachMixOfSections(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(policy, []byte("whole: {names: ['Held.*']}"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := publisher.ReadPolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	const whole, placed = 6, 5 // files of each sort
	for mix := 1; mix < 1<<(whole+placed); mix++ {
		// All mixes of either sort, each with none and with all of the other.
		if few := func(n, of int) bool { return n == 0 || n == 1<<of-1 }; !few(mix%(1<<whole), whole) && !few(mix>>whole, placed) {
			continue
		}
		dir := t.TempDir()
		for i, name := range []string{"a.hdb", "b.hdb", "c.hdu", "d.hsu", "e.fp", "g.urls", "h.ndb", "i.ldb", "j.ldu", "k.mdb", "l.msu"} {
			if mix>>i&1 == 1 {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(allSections[name]), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		c, err := publisher.Compile(context.Background(), []string{dir}, p)
		if err != nil {
			t.Fatal(err)
		}
		light, rest, err := dbformat.Build(c.Content, dbformat.ChooseParams(c.Content, nil))
		if err != nil {
			t.Fatal(err)
		}
		if c.Rejected > 0 {
			t.Fatalf("mix %011b: %+v", mix, c.Rejects)
		}
		if err := matcher.SelfTest(light, nil); err != nil {
			t.Errorf("mix %011b, light: %v", mix, err)
		}
		if err := matcher.SelfTest(light, rest); err != nil {
			t.Errorf("mix %011b, full: %v", mix, err)
		}
	}
}

// urlContent is what a list of one URL compiles to, and its benign URL.
func urlContent(t *testing.T) (c *dbformat.Content, benign string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.urls"), []byte("evil.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	compiled, err := publisher.Compile(t.Context(), []string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range compiled.Content.Vectors {
		if v.Section == "url/sha256" && v.Full == dbformat.ExpectClean {
			benign = string(v.Content)
		}
	}
	return compiled.Content, benign
}

// A database that detects every URL passes all vectors that it must detect; the benign one stops it.
func TestTheSelfTestStopsADatabaseThatDetectsEveryURL(t *testing.T) {
	urls := dbformat.ClassURL.Section(dbformat.SHA256)
	stopped := func(name string, err error, got matcher.Verdict) {
		t.Helper()
		e, ok := errors.AsType[*matcher.SelfTestError](err)
		if !ok || e.Section != "url/sha256" || e.Want != dbformat.ExpectClean || e.Got != got {
			t.Errorf("%s: %v, want a SelfTestError about a URL that is %s", name, err, got)
		}
	}

	// Light of prefixes so short that all of them are listed suspects whatever it is asked.
	c, _ := urlContent(t)
	have := map[byte]bool{}
	for _, r := range c.Sections[urls] {
		have[r.Hash[0]] = true
	}
	for b := range 256 {
		if !have[byte(b)] {
			c.Sections[urls] = append(c.Sections[urls], dbformat.Record{Hash: [32]byte{0: byte(b), 31: 1}, Size: dbformat.AnySize})
		}
	}
	p := dbformat.ChooseParams(c, nil)
	p.URLPrefix = dbformat.MinPrefix
	p.Cuts[urls] = dbformat.CutParams{}
	light, rest, err := dbformat.Build(c, p)
	if err != nil {
		t.Fatal(err)
	}
	stopped("light with every prefix", matcher.SelfTest(light, nil), matcher.Suspected)
	if err := matcher.SelfTest(light, rest); err != nil {
		t.Errorf("its rest makes the prefixes exact: %v", err)
	}

	// With rest a signature of the URL itself does.
	c, benign := urlContent(t)
	u, err := urlhash.Canonicalize(benign)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range u.Hashes() {
		c.Sections[urls] = append(c.Sections[urls], dbformat.Record{Hash: h, Size: dbformat.AnySize})
	}
	if light, rest, err = dbformat.Build(c, dbformat.ChooseParams(c, nil)); err != nil {
		t.Fatal(err)
	}
	stopped("light that lists it", matcher.SelfTest(light, nil), matcher.Suspected)
	stopped("rest that lists it", matcher.SelfTest(light, rest), matcher.Malicious)
}

func TestAllSectionsAreCoveredByVectors(t *testing.T) {
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	r := p.Publish(allSections, p.WithPolicy("whole: {names: ['Held.*']}"))
	// Of two families, with their self-test, what allow records cancel, URLs with theirs; and what is placed in rest, with the self-test of each section.
	if r.Accepted != 28 || r.Rejected != 0 || r.Layers.Rest.Records != 6+6+3+3+(2+1)+(1+1)+(1+1)+(1+1) {
		t.Errorf("report %+v", r)
	}
}
