package updater_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/updater"
)

// A light layer that waits for its rest outlives what the next source's turn clears away.
func TestSpareLightOutlivesTheNextSource(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	old := filepath.Join(t.TempDir(), "public")
	must(t, os.CopyFS(old, os.DirFS(filepath.Join(w.repo, "public"))))
	first := newSite(t, old)
	first.hostile(only(status(404), "rest.bundle"))
	w.publish(signatures(0, 401))
	w.hostile(only(status(404), "light.bundle"))
	r, err := w.update(updater.Options{}, from(updater.Sources(first.URL, w.URL)...))
	if !isOnly(err, updater.ErrUnavailable) || !hasNote(r, "rest_unavailable") {
		t.Errorf("%v, notes %q", err, r.Notes)
	}
	w.mustBe("1 light")
}

// What light alone can give is given where it takes nothing away.
func TestRestUnavailable(t *testing.T) {
	gone := only(status(404), "rest.bundle", "rest.delta")
	t.Run("first install: light alone, full pending", func(t *testing.T) {
		w := newWorld(t)
		w.publish(signatures(0, 400))
		w.hostile(gone)
		hooks := false
		r, err := w.update(updater.Options{}, func(c *updater.Config) { c.Step = func(name string) { hooks = hooks || name == "hooks" } })
		if !isOnly(err, updater.ErrUnavailable) || r.Result != updater.ResultUpdated || r.Variant != light || r.PendingVariant != full || !hasNote(r, "rest_unavailable") {
			t.Errorf("%v, report %+v", err, r)
		}
		if !hooks {
			t.Error("light was installed, and the hooks were not told")
		}
		w.mustBe("1 light")
		w.hostile(nil)
		if r := w.mustUpdate(updater.Options{}); show(r) != "light none, rest bundle" {
			t.Errorf("once rest is there: %+v", r)
		}
		w.mustBe("1 full")
	})
	t.Run("switch from light: light is updated, full pending", func(t *testing.T) {
		w := newWorld(t)
		w.publish(signatures(0, 400))
		w.mustUpdate(updater.Options{Variant: light})
		w.publish(signatures(0, 401))
		w.hostile(gone)
		r, err := w.update(updater.Options{})
		if !isOnly(err, updater.ErrUnavailable) || r.To != 2 || r.Variant != light || r.PendingVariant != full {
			t.Errorf("%v, report %+v", err, r)
		}
		w.mustBe("2 light")
	})
	t.Run("switch from light at the same release: nothing changes", func(t *testing.T) {
		w := newWorld(t)
		w.publish(signatures(0, 400))
		w.mustUpdate(updater.Options{Variant: light})
		w.hostile(gone)
		r, err := w.update(updater.Options{})
		if !isOnly(err, updater.ErrUnavailable) || r.Result != updater.ResultFailed || r.PendingVariant != full {
			t.Errorf("%v, report %+v", err, r)
		}
		w.mustBe("1 light")
	})
	t.Run("installed full: stays whole, never light of the new release", func(t *testing.T) {
		w := installed.begin(t)
		w.publish(signatures(0, 401))
		w.hostile(gone)
		r, err := w.update(updater.Options{})
		if !isOnly(err, updater.ErrUnavailable) || r.To != 1 || r.Variant != full || r.PendingVariant != "" {
			t.Errorf("%v, report %+v", err, r)
		}
		w.mustBe("1 full")
		w.hostile(nil)
		w.mustUpdate(updater.Options{})
		w.mustBe("2 full")
		if l := w.leftovers(); len(l) != 0 {
			t.Errorf("left behind: %v", l)
		}
	})
	t.Run("another source has it", func(t *testing.T) {
		w := newWorld(t)
		w.publish(signatures(0, 400))
		good := newSite(t, filepath.Join(w.repo, "public"))
		w.store = w.endpoint(w.URL, good.URL)
		w.hostile(gone)
		r := w.mustUpdate(updater.Options{})
		if r.Source != good.URL || !hasNote(r, "source_failed") || show(r) != "light bundle, rest bundle" {
			t.Errorf("report %+v", r)
		}
		w.mustBe("1 full")
		for _, p := range good.asked() {
			if strings.HasPrefix(p, "/targets/light/") {
				t.Errorf("light was fetched twice: %s", p)
			}
		}
	})
}
