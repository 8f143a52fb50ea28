//go:build check && linux

package local

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"example.org/avdb/fixtures"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

// TestWrongClocks: eight clocks × three situations. A clock that is wrong may cost updates while it is wrong, which is said; it never installs what
// is not the newest, and nothing of it stays once the clock is right.
func TestWrongClocks(t *testing.T) {
	day := 24 * time.Hour
	at := func(year int) func(time.Time) time.Time {
		return func(time.Time) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	}
	by := func(d time.Duration) func(time.Time) time.Time {
		return func(now time.Time) time.Time { return now.Add(d) }
	}
	clocks := []struct {
		name  string
		wrong func(now time.Time) time.Time
	}{
		{"1970", at(1970)}, {"ten years back", by(-3652 * day)}, {"a day back", by(-day)}, {"a day ahead", by(day)},
		{"ten years ahead", by(3652 * day)}, {"2038", at(2039)}, {"9999", at(9999)}, {"backwards between runs", by(-40 * day)},
	}
	situations := []string{"first install", "an update is there", "nothing new"}
	for _, c := range clocks {
		for _, situation := range situations {
			t.Run(c.name+"/"+situation, func(t *testing.T) {
				w := &world{t: t, home: t.TempDir(), known: map[fixtures.Installed]bool{{}: true}}
				w.Publisher = fixtures.NewPublisher(t, fixtures.PublisherOptions{Start: time.Now().Add(-24 * time.Hour)})
				now := time.Now()
				clock := now
				w.e = fixtures.NewEndpoint(t, filepath.Join(w.home, "state"), w.Root(), func() time.Time { return clock }, w.URL())
				w.release(1)
				if situation != "first install" {
					w.mustReach(1)
				}
				if situation == "an update is there" {
					w.release(2)
				}
				before := w.installed()
				floors := w.floors()
				clock = c.wrong(now)
				r, err := w.e.Update(updater.Options{})
				if err != nil && !errors.Is(err, signing.ErrUntrusted) {
					t.Errorf("kind of error: %v", err)
				}
				after := w.installed()
				if after.Version < before.Version || err == nil && after.Version != r.To {
					t.Errorf("%v after %v, report %d", after, before, r.To)
				}
				if clock.After(now.Add(30*day)) && err == nil {
					t.Error("what has expired by this clock was taken")
				}
				for role, v := range w.floors() {
					if v < floors[role] {
						t.Errorf("the floor of %s went back from %d to %d", role, floors[role], v)
					}
				}
				clock = now.Add(time.Minute)
				newest := uint64(1)
				if situation == "an update is there" {
					newest = 2
				}
				if r, err := w.e.Update(updater.Options{}); err != nil || r.To != newest {
					t.Errorf("with the right clock: release %d, %v", r.To, err)
				}
				if i := w.installed(); i.Version != newest {
					t.Errorf("installed is %v", i)
				}
			})
		}
	}
	summary(t, "A12 wrong clocks: %d cells", len(clocks)*len(situations))
}

func (w *world) floors() map[string]uint64 {
	w.t.Helper()
	f, err := w.e.Floors()
	if err != nil {
		w.t.Fatal(fmt.Errorf("floors: %w", err))
	}
	return f
}
