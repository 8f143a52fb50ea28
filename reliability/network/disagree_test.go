//go:build check && linux

package network

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/fixtures"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

// Two mirrors that are honest and in different states: the device is on the one or the other release, whole, and never goes back.
func TestMirrorsDisagree(t *testing.T) {
	w := begin(t)
	earlier, later := honest(t, w, w.newer), honest(t, w, w.other)
	visit := func(t *testing.T, d *fixtures.Endpoint, want fixtures.Installed, mirrors ...*mirror) updater.Report {
		t.Helper()
		r := &run{w: w, device: d, client: product, limits: limits(), mirrors: mirrors}
		before := floors(t, d)
		var urls []string
		for _, m := range mirrors {
			urls = append(urls, m.url)
		}
		d.SetSources(urls...)
		r.report, r.err = d.Update(updater.Options{})
		after := floors(t, d)
		for role := range before {
			if after[role] < before[role] {
				t.Errorf("the floor of %s went back from %d to %d", role, before[role], after[role])
			}
		}
		if got, err := d.Installed(); r.err != nil || err != nil || got != want {
			t.Errorf("%v, in use is %s, want %s (%v)", r.err, got, want, err)
		}
		return r.report
	}
	t.Run("the later one first", func(t *testing.T) {
		d := w.device(t)
		visit(t, d, w.otherGen, later, earlier)
		for range 3 { // whichever is asked first from now on
			r := visit(t, d, w.otherGen, earlier, later)
			if r.Source != later.url || !noted(r, updater.NoteSourceStale) {
				t.Errorf("source %s, notes %q: the earlier one is stale now", r.Source, r.Notes)
			}
			visit(t, d, w.otherGen, later, earlier)
		}
	})
	t.Run("the earlier one first", func(t *testing.T) {
		d := w.device(t)
		visit(t, d, w.newGen, earlier, later)
		visit(t, d, w.otherGen, later, earlier)
		d.SetSources(earlier.url)
		if _, err := d.Update(updater.Options{}); !errors.Is(err, signing.ErrStale) {
			t.Errorf("only the earlier one: %v, want stale", err)
		}
		if got, err := d.Installed(); got != w.otherGen || err != nil {
			t.Errorf("in use is %s (%v), want %s", got, err, w.otherGen)
		}
	})
}

// Five mirrors that were last synchronised before what the device has seen, and one that is up to date.
func TestAllButOneMirrorStale(t *testing.T) {
	w := begin(t)
	for at := range 6 {
		d := w.device(t)
		var urls []string
		for range 5 {
			urls = append(urls, honest(t, w, w.stale).url)
		}
		urls = slices.Insert(urls, at, honest(t, w, w.newer).url)
		d.SetSources(urls...)
		r, err := d.Update(updater.Options{})
		if got, e := d.Installed(); err != nil || e != nil || got != w.newGen || r.Source != urls[at] {
			t.Errorf("the good one at %d: %v, in use is %s (%v), from %s", at, err, got, e, r.Source)
		}
		stale := 0
		for _, n := range r.Notes {
			if strings.HasPrefix(n, updater.NoteSourceStale) {
				stale++
			}
		}
		if stale != at {
			t.Errorf("%d sources are noted as stale, %d were asked before the good one", stale, at)
		}
	}
}

func noted(r updater.Report, code string) bool {
	return slices.ContainsFunc(r.Notes, func(n string) bool { return strings.HasPrefix(n, code) })
}
