package updater_test

import (
	"testing"

	"example.org/avdb/updater"
)

// How many generations stay is the settings' matter unless the program says otherwise; saying so writes nothing.
func TestKeepOfTheProgramOutweighsTheSettings(t *testing.T) {
	for _, c := range []struct {
		keep     int
		previous bool
	}{{0, true}, {-1, false}, {2, true}} {
		w := anotherWorld(t)
		for n := range 2 {
			w.publish(signatures(0, 10+n))
			if _, err := w.update(updater.Options{}, func(u *updater.Config) { u.Keep = c.keep }); err != nil {
				t.Fatal(err)
			}
		}
		cur, err := w.store.Current()
		if err != nil || (cur.Previous != nil) != c.previous {
			t.Errorf("keep %d: previous %+v, %v", c.keep, cur.Previous, err)
		}
		if s, err := w.store.Settings(); err != nil || s.Update.Keep != 1 {
			t.Errorf("keep %d: the settings say %d, %v", c.keep, s.Update.Keep, err)
		}
	}
}
