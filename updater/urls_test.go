package updater_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/updater"
)

// An engine from before URLs does nothing about a release that has some, and says what to do; one of today takes it by delta, and goes
// on to a release without, which is for the old one again.
func TestReleasesWithURLs(t *testing.T) {
	w := installed.begin(t)
	plan := func(engine int) updater.Plan {
		return updater.MakePlan(updater.PlanInput{Record: *w.record(), Wanted: dbformat.VariantFull, Engine: engine,
			Targets: func(string) (int64, bool) { return 1, true }})
	}
	if p := plan(1); p.Err != nil || p.Release == nil {
		t.Errorf("without URLs: %+v", p)
	}
	list := filepath.Join(w.src, "b.urls")
	must(t, os.WriteFile(list, []byte("evil.example\n"), 0o600))
	w.publish(signatures(0, 400))
	p := plan(1)
	if !errors.Is(p.Err, dbformat.ErrVersion) || p.Release != nil || p.Steps != nil {
		t.Fatalf("the plan of an engine from before: %+v", p)
	}
	for _, word := range []string{"release 2", "level 2", "has 1", "keeps protecting", "newer engine"} {
		if !strings.Contains(p.Err.Error(), word) {
			t.Errorf("error %q does not say %q", p.Err, word)
		}
	}
	for version, step := range []func(){func() {}, func() { must(t, os.Remove(list)); w.publish(signatures(0, 402)) }} {
		step()
		r := w.mustUpdate(updater.Options{})
		if len(r.Steps) != 2 || r.Steps[0].How != "delta" || r.Steps[1].How != "delta" {
			t.Errorf("to release %d: %s", version+2, show(r))
		}
	}
	w.mustBe("3 full")
	if p := plan(1); p.Err != nil || p.Release == nil {
		t.Errorf("without URLs again: %+v", p)
	}
}
