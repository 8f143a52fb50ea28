package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// digest makes different digests.
func digest(n byte) (d dbformat.Digest) {
	for i := range d {
		d[i] = n
	}
	return d
}

// gen is a generation of a version; rest 0 makes it light.
func gen(version uint64, light, rest byte) Generation {
	g := Generation{Version: version, Published: day(int(version)), Installed: day(int(version) + 1), Light: LayerRef{Digest: digest(light), Since: version}}
	if rest != 0 {
		g.Rest = &LayerRef{Digest: digest(rest), Since: version, Records: 7, Bytes: 9}
	}
	return g
}

func shape(c *Current) string {
	one := func(g *Generation) string {
		s := fmt.Sprintf("%d:%d", g.Version, g.Light.Digest[0])
		if g.Rest != nil {
			s += fmt.Sprintf("+%d", g.Rest.Digest[0])
		}
		return s
	}
	s := one(&c.Generation)
	for i := range c.Others {
		s += " " + one(&c.Others[i])
	}
	if c.Previous != nil {
		s += fmt.Sprintf(" previous %d", c.Previous.Version)
	}
	if c.Hold.All {
		s += " hold all"
	}
	if c.Hold.Version != 0 {
		s += fmt.Sprintf(" hold %d", c.Hold.Version)
	}
	if c.RolledBack != nil {
		s += " left " + one(&c.RolledBack.From)
	}
	return s
}

// TestGenerationsKept: whole generations are kept or dropped; the same digests make no new one.
func TestGenerationsKept(t *testing.T) {
	type step struct {
		g    Generation
		keep int
		want string
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"one previous is kept", []step{
			{gen(1, 1, 2), 1, "1:1+2"},
			{gen(2, 3, 4), 1, "2:3+4 1:1+2 previous 1"},
			{gen(3, 5, 6), 1, "3:5+6 2:3+4 previous 2"},
		}},
		{"two are kept, then none", []step{
			{gen(1, 1, 2), 2, "1:1+2"},
			{gen(2, 3, 4), 2, "2:3+4 1:1+2 previous 1"},
			{gen(3, 5, 6), 2, "3:5+6 2:3+4 1:1+2 previous 2"},
			{gen(4, 7, 8), 0, "4:7+8"},
		}},
		{"the same digests renew the number and shift nothing", []step{
			{gen(1, 1, 2), 1, "1:1+2"},
			{gen(2, 3, 4), 1, "2:3+4 1:1+2 previous 1"},
			{gen(3, 3, 4), 1, "3:3+4 1:1+2 previous 1"},
		}},
		{"content that comes back is not kept twice", []step{
			{gen(1, 1, 2), 2, "1:1+2"},
			{gen(2, 3, 4), 2, "2:3+4 1:1+2 previous 1"},
			{gen(3, 1, 2), 2, "3:1+2 2:3+4 previous 2"},
		}},
		{"the other variant of a release is kept beside, and is no previous release", []step{
			{gen(1, 1, 2), 1, "1:1+2"},
			{gen(2, 3, 4), 1, "2:3+4 1:1+2 previous 1"},
			{gen(2, 3, 0), 1, "2:3 2:3+4 1:1+2 previous 1"},
			{gen(2, 3, 4), 1, "2:3+4 2:3 1:1+2 previous 1"},
			{gen(3, 5, 0), 1, "3:5 2:3+4 previous 2"},
		}},
	} {
		var cur *Current
		for i, st := range c.steps {
			cur = succeed(cur, st.g, st.keep)
			if got := shape(cur); got != st.want {
				t.Errorf("%s, step %d: %s, want %s", c.name, i+1, got, st.want)
			}
		}
	}
}

// What a refused release was held against outlives light generations, whatever their number, and nothing else does.
func TestMeasureOfARefusalIsKept(t *testing.T) {
	measure := gen(1, 1, 2)
	r := Refusal{FullLight: measure.Light.Digest, FullRest: measure.Rest.Digest}
	for keep, want := range map[int]string{0: "4:7 1:1+2 previous 1", 1: "4:7 3:5 1:1+2 previous 3", 3: "4:7 3:5 2:3 1:1+2 previous 3"} {
		cur := succeed(nil, measure, keep)
		for _, g := range []Generation{gen(2, 3, 0), gen(3, 5, 0), gen(4, 7, 0)} {
			next := succeed(cur, g, keep)
			next.keepMeasure(cur, r)
			cur = next
		}
		if got := shape(cur); got != want {
			t.Errorf("keep %d: %s, want %s", keep, got, want)
		}
		next := succeed(cur, gen(5, 9, 10), 0)
		if next.keepMeasure(cur, r); shape(next) != "5:9+10" {
			t.Errorf("a full generation: %s", shape(next))
		}
		next = succeed(cur, gen(5, 9, 0), 0)
		if next.keepMeasure(cur, Refusal{}); shape(next) != "5:9" {
			t.Errorf("a refusal without a full generation: %s", shape(next))
		}
	}
}

// TestRollbackHolds: what was left does not come back by itself, a higher release ends the hold.
func TestRollbackHolds(t *testing.T) {
	cur := succeed(succeed(succeed(nil, gen(1, 1, 2), 2), gen(2, 3, 4), 2), gen(3, 5, 6), 2)
	back := cur.rollback(false, dbformat.At(day(50)))
	if got := shape(back); got != "2:3+4 1:1+2 previous 1 hold 3 left 3:5+6" {
		t.Fatalf("after a rollback: %s", got)
	}
	for version, held := range map[uint64]bool{1: true, 2: false, 3: true, 4: false} {
		if back.Holds(version) != held {
			t.Errorf("release %d held: %v", version, !held)
		}
	}
	again := back.rollback(true, dbformat.At(day(51)))
	if got := shape(again); got != "1:1+2 hold all hold 3 left 2:3+4" || !again.Hold.Since.Equal(day(51)) {
		t.Errorf("after another one with --hold: %s", got)
	}
	if again.Holds(4) != true || again.Holds(1) {
		t.Error("a hold of everything holds the wrong releases")
	}
	if got := shape(succeed(back, gen(4, 7, 8), 1)); got != "4:7+8 2:3+4 previous 2" {
		t.Errorf("a higher release: %s", got)
	}
	if got := shape(succeed(back, gen(4, 3, 4), 1)); got != "4:3+4 1:1+2 previous 1" {
		t.Errorf("a retracting release: %s", got)
	}
	if got := shape(succeed(back, gen(2, 3, 0), 1)); got != "2:3 2:3+4 1:1+2 previous 1 hold 3" {
		t.Errorf("a switch of the variant keeps the hold: %s", got)
	}
}

func TestCurrentRoundTrip(t *testing.T) {
	full := &Current{Generation: gen(3, 5, 6), Others: []Generation{gen(3, 5, 0), gen(2, 3, 4)},
		Hold: Hold{Version: 4, All: true, Since: day(9)}, RolledBack: &RolledBack{From: gen(4, 7, 8), Since: day(9)}}
	for _, c := range []*Current{{Generation: gen(1, 1, 0)}, full} {
		c.setPrevious()
		b, err := encodeCurrent(c)
		must(t, err)
		got, err := parseCurrent(b)
		must(t, err)
		if shape(got) != shape(c) || !got.Hold.Since.Equal(c.Hold.Since) || !got.Published.Equal(c.Published) {
			t.Errorf("read %s, wrote %s", shape(got), shape(c))
		}
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << (i % 8)
			if got, err := parseCurrent(bad); err == nil || got != nil {
				t.Fatalf("flip at byte %d of CURRENT is accepted:\n%s", i, bad)
			}
		}
		for n := range b {
			if _, err := parseCurrent(b[:n]); err == nil {
				t.Fatalf("CURRENT cut to %d bytes is accepted", n)
			}
		}
	}
}

func TestCurrentRefusals(t *testing.T) {
	b, err := encodeCurrent(&Current{Generation: gen(3, 5, 6)})
	must(t, err)
	good := string(b)
	for _, c := range []struct{ name, doc, text string }{
		{"unknown field", strings.Replace(good, `"previous"`, `"later": 1, "previous"`, 1), `unknown field "later"`},
		{"field twice", strings.Replace(good, `"previous": []`, `"previous": [], "previous": []`, 1), `"previous" stands twice`},
		{"another case", strings.Replace(good, `"previous"`, `"Previous"`, 1), "lower case"},
		{"wrong type", strings.Replace(good, `"schema": 1`, `"schema": "1"`, 1), "schema"},
		{"version 0", strings.Replace(good, `"version": 3`, `"version": 0`, 1), "current.version is 0"},
		{"a digest of capitals", strings.ReplaceAll(good, "0505", "0A0A"), "lower-case"},
		{"something behind", good + "{}", "follows the document"},
		{"nothing", "", "ends too early"},
		{"an empty object", "{}", "schema is 0"},
		{"deep", strings.Repeat("[", 100000), "nested more than"},
		{"an edited number", strings.Replace(good, `"records": 7`, `"records": 8`, 1), "field sum"},
	} {
		_, err := parseCurrent([]byte(c.doc))
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want an error that says %q", c.name, err, c.text)
		}
	}
	if _, err := parseCurrent([]byte("{}")); errors.Is(err, dbformat.ErrVersion) {
		t.Errorf("an empty object asks for a newer engine: %v, want damage, which an update heals", err)
	}
	// What a later engine wrote is not damage, or this one would write over it; a flipped bit of ours is.
	later := strings.NewReplacer(`"schema": 1`, `"schema": 2`, `"previous"`, `"later": 1, "previous"`).Replace(good)
	if _, err := parseCurrent([]byte(later)); !errors.Is(err, dbformat.ErrVersion) {
		t.Errorf("schema 2: %v, want ErrVersion", err)
	}
	flipped := strings.Replace(good, `"schema": 1`, `"schema": 3`, 1)
	if _, err := parseCurrent([]byte(flipped)); err == nil || errors.Is(err, dbformat.ErrVersion) {
		t.Errorf("a flipped bit in the schema: %v, want damage, which an update heals", err)
	}
	if _, err := encodeCurrent(&Current{}); err == nil {
		t.Error("a zero generation was encoded")
	}
	s := newMemoryStore(t)
	must(t, os.WriteFile(s.currentPath(), make([]byte, maxCurrent+1), 0o644))
	_, err = s.Current()
	requireError(t, err, ErrDamaged, "more than")
}

// TestHeldReleases: Activate refuses what a hold forbids and steps back, and says what to do.
func TestHeldReleases(t *testing.T) {
	s := newMemoryStore(t)
	one, two, three := newRelease(t, 1, 50, 1), newRelease(t, 2, 51, 2), newRelease(t, 3, 52, 3)
	full := dbformat.VariantFull
	must(t, install(s, one, full))
	_, err := s.Rollback(false)
	requireError(t, err, ErrNoPrevious, "no release before 1")
	must(t, install(s, two, full))
	requireError(t, install(s, one, full), ErrHeld, "release 2 is current, 1 is older")
	c, err := s.Rollback(true)
	must(t, err)
	if c.Version != 1 || !c.Hold.All || c.Hold.Version != 2 || c.RolledBack.From.Version != 2 {
		t.Errorf("after the rollback: %+v", c)
	}
	requireError(t, install(s, three, full), ErrHeld, "every release is held")
	must(t, install(s, one, dbformat.VariantLight)) // another variant of the same release is none of the hold's business
	must(t, s.ReleaseHold())
	must(t, install(s, two, full))
	requireCurrent(t, s, two, full)
	_, err = s.Rollback(false)
	must(t, err)
	requireError(t, install(s, two, full), ErrHeld, "releases up to 2 are held")
	must(t, s.SetHold())
	requireError(t, install(s, three, full), ErrHeld, "every release is held")
	must(t, s.ReleaseHold())
	must(t, install(s, three, full))
	requireNoLeftovers(t, s)
}

// TestRollbackToDamage: a previous generation that is damaged does not become current.
func TestRollbackToDamage(t *testing.T) {
	s := newMemoryStore(t)
	one, two := newRelease(t, 1, 50, 1), newRelease(t, 2, 51, 2)
	must(t, install(s, one, dbformat.VariantFull))
	must(t, install(s, two, dbformat.VariantFull))
	must(t, os.Truncate(s.layerPath(one.rest.Header().Digest()), 8192))
	_, err := s.Rollback(false)
	requireError(t, err, ErrDamaged, "is damaged")
	requireCurrent(t, s, two, dbformat.VariantFull)
	report, err := s.Verify(true, nil)
	requireError(t, err, ErrDamaged, "is damaged")
	if len(report.Layers) != 4 || report.OK || report.Layers[3].OK || report.Layers[3].Version != 1 {
		t.Errorf("deep report is %+v", report)
	}
	if _, err := s.Verify(false, nil); err != nil {
		t.Errorf("the current generation is sound, and yet: %v", err)
	}
}

func TestSameContentKeepsInstalled(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 50, 1)
	must(t, install(s, r, dbformat.VariantFull))
	before, err := s.Current()
	must(t, err)
	s.o.Now = func() time.Time { return day(200) }
	must(t, install(s, r.at(2), dbformat.VariantFull))
	after := requireCurrent(t, s, r.at(2), dbformat.VariantFull)
	if !after.Installed.Equal(before.Installed) || after.Published.Equal(before.Published) || after.Previous != nil {
		t.Errorf("before %+v, after %+v", before, after)
	}
}
