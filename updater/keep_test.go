package updater_test

import (
	"os"
	"path/filepath"
	"testing"

	"example.org/avdb/signing"
	"example.org/avdb/store"
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

// What is kept is proved: an update that leaves a damaged generation in use because a hold or an older offer keeps it never says that it is current.
func TestWhatIsKeptAndDamagedIsNotCurrent(t *testing.T) {
	damage := func(w *world) {
		cur, err := w.store.Current()
		must(t, err)
		name := filepath.Join(w.store.Dir(), "db", "layers", cur.Light.Digest.String()+".db")
		must(t, os.Chmod(name, 0o600))
		must(t, os.Truncate(name, 4096))
	}
	for what, c := range map[string]struct {
		keep func(w *world)
		kind error
	}{
		"held": {func(w *world) { locked(t, w.store, func() error { _, err := w.store.Rollback(true); return err }) }, store.ErrStorage},
		"newer than what is offered": {func(w *world) {
			must(t, os.RemoveAll(w.store.TrustDir())) // its floors are lost, so that the older repository is no rollback that could be seen
			must(t, signing.InitTrust(w.store.TrustDir(), w.file("metadata/1.root.json"), false))
			must(t, os.RemoveAll(filepath.Join(w.repo, "public")))
			must(t, os.Rename(filepath.Join(w.home, "before"), filepath.Join(w.repo, "public")))
		}, updater.ErrUnavailable},
	} {
		t.Run(what, func(t *testing.T) {
			w := installed.begin(t)
			must(t, os.CopyFS(filepath.Join(w.home, "before"), os.DirFS(filepath.Join(w.repo, "public"))))
			w.publish(signatures(0, 401))
			w.mustUpdate(updater.Options{})
			c.keep(w)
			if r := w.mustUpdate(updater.Options{}); r.Result != updater.ResultCurrent {
				t.Fatalf("undamaged: %+v", r)
			}
			damage(w)
			for _, o := range []updater.Options{{}, {Check: true}} {
				if r, err := w.update(o); !isOnly(err, c.kind) || r.Result != updater.ResultFailed && !o.Check {
					t.Errorf("%+v: %+v, %v; want %v", o, r, err, c.kind)
				}
			}
		})
	}
}
