package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

func mustBuild(t testing.TB, c *Compiled) (light, rest *dbformat.MemLayer) {
	t.Helper()
	light, rest, err := dbformat.Build(c.Content, dbformat.ChooseParams(c.Content, nil))
	if err != nil {
		t.Fatal(err)
	}
	return light, rest
}

func lines(from, to int, name string) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		// Spread, so that several blocks have rows.
		fmt.Fprintf(&b, "%064x:%d:%s%d\n", sum(dbformat.SHA256, fmt.Appendf(nil, "%d", i)), i%7+1, name, i)
	}
	return b.String()
}

func TestLayersGiveBackTheirKeys(t *testing.T) {
	p := DefaultPolicy()
	p.names = []string{"Held.*"}
	c := mustCompile(t, map[string]string{
		"a.hsb": lines(0, 20000, "A") + lines(30000, 30500, "Held."), "b.hsu": lines(40000, 40100, "P"), "c.sfp": lines(50000, 50010, "ok"),
		"d.hdb": hexMD5 + ":*:M:73\n" + hexMD5 + ":3:M\n",
	}, p)
	light, rest := mustBuild(t, c)
	for i := range light.Header().Sections {
		id := light.Header().Sections[i].ID
		if !id.Rows() {
			continue
		}
		n := 0
		for r, err := range layerRecords(light, rest, i) {
			if err != nil {
				t.Fatal(err)
			}
			if want := c.Content.Sections[id][n]; compareKeys(&r, &want) != 0 {
				t.Fatalf("%s row %d: %x size %d, want %x size %d", id, n, r.Hash, r.Size, want.Hash, want.Size)
			}
			n++
		}
		if n != len(c.Content.Sections[id]) {
			t.Errorf("%s gives %d of %d rows", id, n, len(c.Content.Sections[id]))
		}
	}
	got, err := compare(light, rest, c.Content)
	if err != nil || got != (change{}) {
		t.Errorf("from a content to itself: %+v, %v", got, err)
	}
}

func TestWhatCountsAsRemoved(t *testing.T) {
	p := DefaultPolicy()
	p.names = []string{"Held.*"}
	before := mustCompile(t, map[string]string{
		"a.hsb": lines(0, 100, "A") + lines(100, 110, "Held."), "b.hsu": lines(200, 220, "P"), "c.sfp": lines(300, 305, "ok"),
	}, p)
	light, rest := mustBuild(t, before)
	for _, c := range []struct {
		promise string
		files   map[string]string
		want    change
	}{
		{"records that go", map[string]string{"a.hsb": lines(7, 100, "A") + lines(102, 110, "Held."), "b.hsu": lines(200, 217, "P"), "c.sfp": lines(300, 305, "ok")},
			change{removedLight: 12, removedRest: 10}},
		{"what becomes whole leaves rest only", map[string]string{"a.hsb": lines(0, 10, "Held.") + lines(10, 100, "A") + lines(100, 110, "Held."), "b.hsu": lines(200, 220, "P"), "c.sfp": lines(300, 305, "ok")},
			change{removedRest: 10}},
		{"what is no longer whole leaves nothing", map[string]string{"a.hsb": lines(0, 100, "A") + lines(100, 109, "B") + lines(109, 110, "Held."), "b.hsu": lines(200, 220, "P"), "c.sfp": lines(300, 305, "ok")},
			change{}},
		{"what is no longer unwanted but malicious stays", map[string]string{"a.hsb": lines(0, 100, "A") + lines(100, 110, "Held.") + lines(200, 210, "P"), "b.hsu": lines(210, 220, "P"), "c.sfp": lines(300, 305, "ok")},
			change{}},
		{"another name or order is no change", map[string]string{"a.hsb": lines(50, 100, "Z") + lines(0, 50, "Y") + lines(100, 110, "Held.x"), "b.hsu": lines(200, 220, "P"), "c.sfp": lines(300, 305, "other")},
			change{}},
		{"allow records that come and go", map[string]string{"a.hsb": lines(0, 100, "A") + lines(100, 110, "Held."), "b.hsu": lines(200, 220, "P"), "c.sfp": lines(303, 310, "ok")},
			change{removedLight: 3, allowAdded: 5}},
	} {
		after, err := Compile(context.Background(), []string{folder(t, c.files)}, p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := compare(light, rest, after.Content); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.promise, got, err, c.want)
		}
	}
}

func TestGuards(t *testing.T) {
	g := DefaultPolicy().Guards
	for _, c := range []struct {
		promise     string
		change      change
		light, rest uint64
		err         string
	}{
		{"just 30 percent", change{removedLight: 3000, removedRest: 3000}, 10000, 10000, ""},
		{"one record more", change{removedLight: 3001, removedRest: 0}, 10000, 10000, "it removes 3001 of 10000 records of light (30.0 %), at most 30 % are allowed; check the sources, and if this is meant, raise guards.removed_percent in the policy"},
		{"of rest alone", change{removedRest: 5000}, 20000, 10000, "it removes 5000 of 10000 records of rest (50.0 %)"},
		{"a small layer has no guard", change{removedLight: 9999, removedRest: 9999, allowAdded: 2000}, 9999, 9999, ""},
		{"just 1000 allow records", change{allowAdded: 1000}, 10000, 10000, ""},
		{"one allow record more", change{allowAdded: 1001}, 10000, 10000, "it adds 1001 allow records, at most 1000 are allowed; check the sources, and if this is meant, raise guards.allow_added"},
		{"both", change{removedLight: 9000, allowAdded: 1001}, 10000, 0, "guards.removed_percent and guards.allow_added"},
	} {
		err := g.check(c.change, c.light, c.rest)
		if c.err == "" && err != nil || c.err != "" && (!errors.Is(err, ErrGuard) || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, want %q", c.promise, err, c.err)
		}
	}
	off := Guards{RemovedPercent: 100, AllowAdded: dbformat.MaxVersion}
	if err := off.check(change{removedLight: 10000, removedRest: 10000, allowAdded: 1 << 40}, 10000, 10000); err != nil {
		t.Errorf("guards that are off refuse: %v", err)
	}
}
