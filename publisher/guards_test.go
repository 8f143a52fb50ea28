package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
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

func TestWhatIsWholeCanBeToldFromTheLayer(t *testing.T) {
	p := DefaultPolicy()
	p.names = []string{"Held.*"}
	c := mustCompile(t, map[string]string{"a.hsb": lines(0, 2000, "A") + lines(3000, 3500, "Held.")}, p)
	light, _ := mustBuild(t, c)
	id := dbformat.ClassWhole.Section(dbformat.SHA256)
	i, _, ok := light.Header().Section(id)
	if !ok {
		t.Fatal("nothing is whole")
	}
	n := 0
	for r, err := range wholeKeys(light, i) {
		if err != nil {
			t.Fatal(err)
		}
		if want := c.Content.Sections[id][n]; r != (wholeKey{dbformat.ClassHash, dbformat.SHA256, want.Hash, want.Size}) {
			t.Fatalf("row %d: %+v, want %x size %d", n, r, want.Hash, want.Size)
		}
		n++
	}
	if n != len(c.Content.Sections[id]) {
		t.Errorf("%d of %d rows", n, len(c.Content.Sections[id]))
	}
}

func TestStepsThatThePolicyCauses(t *testing.T) {
	held := DefaultPolicy()
	held.names = []string{"Held.*"}
	for _, c := range []struct {
		promise            string
		before, after      map[string]string
		light, rest, alone uint64 // removed
	}{
		{"what becomes whole leaves rest", map[string]string{"a.hsb": lines(0, 100, "A")}, map[string]string{"a.hsb": lines(0, 10, "Held.") + lines(10, 100, "A")}, 0, 10, 10},
		{"what is no longer whole leaves nothing", map[string]string{"a.hsb": lines(0, 10, "Held.") + lines(10, 100, "A")}, map[string]string{"a.hsb": lines(0, 1, "Held.") + lines(1, 100, "A")}, 0, 0, 0},
		{"what becomes unwanted is lost to who does not ask for it", map[string]string{"a.hsb": lines(0, 100, "A")}, map[string]string{"a.hsb": lines(10, 100, "A"), "b.hsu": lines(0, 10, "A")}, 10, 10, 10},
	} {
		oldLight, oldRest := mustBuild(t, mustCompile(t, c.before, held))
		light, rest := mustBuild(t, mustCompile(t, c.after, held))
		got, err := dbformat.CountChanges(oldLight, oldRest, light, rest)
		if err != nil || got.Light.Removed != c.light || got.Rest.Removed != c.rest {
			t.Errorf("%s: %+v, %v", c.promise, got, err)
		}
		if got, err = dbformat.CountChanges(oldLight, nil, light, nil); err != nil || got.Light.Removed != c.alone {
			t.Errorf("%s, light alone: %+v, %v", c.promise, got, err)
		}
	}
}

func (s *shop) approve(version uint64) {
	s.t.Helper()
	repo, err := signing.OpenRepository(s.dir, "")
	if err != nil {
		s.t.Fatal(err)
	}
	s.now = s.now.Add(time.Minute)
	if err := repo.Approve(version, s.now); err != nil {
		s.t.Fatal(err)
	}
}

// guardWarnings are those about releases that endpoints will refuse.
func guardWarnings(r *Report) []string {
	return slices.DeleteFunc(slices.Clone(r.Warnings), func(w string) bool { return !strings.Contains(w, "will refuse release") })
}

// Guard: the publisher's. A release beyond the guards waits for the offline keys, and the refusal says so.
func TestApprovalLetsAReleasePass(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 12000, "A"))
	s.publish()
	s.put("a.hsb", lines(0, 6000, "A"))
	_, err := Publish(context.Background(), s.options())
	e, ok := errors.AsType[*GuardError](err)
	if !ok || e.Version != 2 || !e.Endpoints || len(e.Broken) != 2 || e.Broken[0].Records != 12001 || e.Broken[0].Changed != 6000 {
		t.Fatalf("error %+v", err)
	}
	for _, part := range []string{"it removes 6000 of 12001 records of light (50.0 %), at most 30 % are allowed", "avdb repo approve " + s.dir + " 2`",
		"guards.removed_percent in the policy file", "endpoints heed the approval only"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q, want %q in it", err, part)
		}
	}
	s.approve(3)
	if _, err := Publish(context.Background(), s.options()); !errors.Is(err, ErrGuard) {
		t.Errorf("with the approval of another version: %v", err)
	}
	s.approve(2)
	if r := s.publish(); !r.Published || r.Version != 2 || len(guardWarnings(r)) > 0 {
		t.Errorf("approved: %+v", r)
	}
	s.check()
}

// A policy that lets the publisher pass does not reach its endpoints: the report says so, and how they are served.
func TestWhatOnlyThePolicyLetsPassIsToldLoudly(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.put("a.hsb", lines(0, 12000, "A"))
	s.publish()
	s.put("a.hsb", lines(0, 8000, "A"))
	r := s.publish(withPolicy(t, "guards: {removed_percent: 60}"))
	w := guardWarnings(r)
	if !r.Published || len(w) != 1 || !strings.HasPrefix(w[0], "endpoints with release 1 (the policy file lets this publisher pass and NO ENDPOINT) will refuse release 2: "+
		"from release 1 it removes 4000 of 12001 records of light (33.3 %), at most 30 % are allowed; ") || !strings.HasSuffix(w[0], "`avdb repo approve "+s.dir+" 2`") {
		t.Errorf("warnings %q", r.Warnings)
	}
	s.check()
}

// Endpoints judge the step from what they have. Those that missed releases are counted.
func TestEndpointsThatMissedReleasesAreCounted(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for i, n := range []int{16000, 14500, 12000, 10600} {
		s.put("a.hsb", lines(0, n, "A"))
		r := s.publish()
		want := ""
		if i == 3 { // 33.7 % from release 1, 26.9 % from release 2
			want = fmt.Sprintf("endpoints with release 1 will refuse release 4: from release 1 it removes 5400 of 16001 records of light (33.7 %%), at most 30 %% are allowed; "+
				"it removes 5400 of 16001 records of rest (33.7 %%), at most 30 %% are allowed; have the offline keys approve it with `avdb repo approve %s 4`", s.dir)
		}
		if got := strings.Join(guardWarnings(r), "|"); got != want {
			t.Errorf("release %d: warnings %q, want %q", r.Version, got, want)
		}
	}
	s.put("a.hsb", lines(0, 10000, "A"))
	r := s.publish()
	if w := guardWarnings(r); len(w) != 1 || !strings.HasPrefix(w[0], "endpoints with one of 2 earlier releases, the oldest of them 1, will refuse release 5: from release 1") {
		t.Errorf("warnings %q", r.Warnings)
	}
	s.check()
}

// Endpoints with light alone cannot judge a rest. The report tells once that they wait for an approval.
func TestTakingLightAwayIsToldLoudly(t *testing.T) {
	t.Parallel()
	fullOnly := "variants: [full]"
	for _, c := range []struct {
		rows     int
		approved bool
		want     string
	}{
		{12000, false, "endpoints with light alone will refuse release 2, which is not offered as light, and those after it"},
		{12000, true, ""},
		{9000, false, ""},
	} {
		s := newShop(t)
		s.put("a.hsb", lines(0, c.rows, "A"))
		s.publish()
		if c.approved {
			s.approve(2)
		}
		got := strings.Join(guardWarnings(s.publish(withPolicy(t, fullOnly))), "|")
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%+v: warnings %q", c, got)
		}
		s.put("a.hsb", lines(0, c.rows+1, "A"))
		if got := guardWarnings(s.publish(withPolicy(t, fullOnly))); len(got) > 0 {
			t.Errorf("%+v, the next one: warnings %q", c, got)
		}
	}
}
