package updater_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// These tests own the state folder and what is in it: the stored restriction set is what somebody likes it to be, with a checksum that is right.

// restricted is an endpoint on which the set of epoch 2 is in force; the bytes of epoch 1 were in force before it.
func restricted(t *testing.T) (w *world, one, two []byte) {
	w = newWorld(t)
	w.publish(signatures(0, 400), func(o *publisher.Options) { o.Restrictions = restrictionFile(t, 1) })
	w.mustUpdate(updater.Options{})
	one = w.inForce()
	w.publish(signatures(0, 400), func(o *publisher.Options) { o.Restrictions = restrictionFile(t, 2) })
	w.mustUpdate(updater.Options{})
	return w, one, w.inForce()
}

// inForce is the set that may be used.
func (w *world) inForce() []byte {
	w.t.Helper()
	b, ok, err := w.store.ProvedRestrictions()
	if !ok || err != nil {
		w.t.Fatalf("no set is proved: %v", err)
	}
	return b
}

// unproved demands that nothing may be asked by the set that is stored.
func (w *world) unproved() {
	w.t.Helper()
	b, ok, err := w.store.ProvedRestrictions()
	if b != nil || ok || !errors.Is(err, store.ErrDamaged) || !errors.Is(err, store.ErrStorage) {
		w.t.Fatalf("%s is proved: %v, %v", b, ok, err)
	}
	if by, _, err := w.store.CheckRestrictions(); by != "" || !errors.Is(err, store.ErrDamaged) {
		w.t.Fatalf("verified by %q, %v", by, err)
	}
}

// place stores a set as the owner of the state folder can.
func (w *world) place(b []byte, epoch uint64) {
	w.t.Helper()
	locked(w.t, w.store, func() error { return w.store.ReplaceRestrictions(b, epoch) })
}

func (w *world) stored() string { return filepath.Join(w.store.Dir(), "db", "restrictions.json") }

// empty is a set that restricts nothing.
func (w *world) empty(epoch uint64) []byte {
	w.t.Helper()
	at := dbformat.At(w.now)
	b, err := (&dbformat.RestrictionSet{Schema: 1, Epoch: epoch, Signed: &at, Records: []dbformat.Restriction{}}).Encode()
	must(w.t, err)
	return b
}

func (w *world) remove(names ...string) {
	w.t.Helper()
	for _, name := range names {
		must(w.t, os.Remove(filepath.Join(w.store.Dir(), filepath.FromSlash(name))))
	}
}

// Whatever the owner of the state folder does to the stored set, nothing is asked by it, and the next update of a good source puts the signed one
// back, which is no failure.
func TestRestrictionSetTamperedWith(t *testing.T) {
	const set, floors, verified = "db/restrictions.json", "trust/floors.json", "trust/verified.json"
	for _, c := range []struct {
		name   string
		tamper func(w *world, one []byte)
		note   string
	}{
		{"removed", func(w *world, _ []byte) { w.remove(set) }, "restrictions_replaced"},
		{"forged under a higher epoch", func(w *world, _ []byte) { w.place(w.empty(1<<40), 1<<40) }, "restrictions_replaced"},
		{"forged under the highest epoch", func(w *world, _ []byte) { w.place(w.empty(dbformat.MaxVersion), dbformat.MaxVersion) }, "restrictions_replaced"},
		{"forged under the same epoch", func(w *world, _ []byte) { w.place(w.empty(2), 2) }, "restrictions_replaced"},
		{"an older one put back", func(w *world, one []byte) { w.place(one, 1) }, "restrictions_replaced"},
		{"a flipped byte", func(w *world, _ []byte) {
			b, err := os.ReadFile(w.stored())
			must(w.t, err)
			must(w.t, os.WriteFile(w.stored(), flip(b), 0o644))
		}, "damaged"},
		{"removed with the floors", func(w *world, _ []byte) { w.remove(set, floors) }, "restrictions_replaced"},
		{"removed with floors and metadata", func(w *world, _ []byte) { w.remove(set, floors, verified) }, "restrictions_replaced"},
		{"removed with the metadata", func(w *world, _ []byte) { w.remove(set, verified) }, "restrictions_replaced"},
		{"forged, and the floors removed", func(w *world, _ []byte) { w.place(w.empty(3), 3); w.remove(floors) }, "restrictions_replaced"},
		{"an older one put back, floors and metadata removed", func(w *world, one []byte) { w.place(one, 1); w.remove(floors, verified) }, "restrictions_replaced"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, one, two := restricted(t)
			c.tamper(w, one)
			w.unproved()
			if r := w.mustUpdate(updater.Options{Check: true}); r.Result != updater.ResultAvailable {
				t.Errorf("a check says %+v", r)
			}
			w.unproved() // also now that there are new metadata
			r := w.mustUpdate(updater.Options{})
			if r.Result != updater.ResultUpdated || show(r) != "restrictions set, light none, rest none" || r.Steps[0].To != 2 || !hasNote(r, c.note) {
				t.Errorf("report %+v", r)
			}
			if b := w.inForce(); !bytes.Equal(b, two) {
				t.Errorf("in force is %s", b)
			}
			if r := w.mustUpdate(updater.Options{}); r.Result != updater.ResultCurrent || show(r) != "light none, rest none" || hasNote(r, "restrictions_replaced") {
				t.Errorf("the next update: %+v", r)
			}
		})
	}
}

// A mirror that lags behind never lowers the epoch that a floor vouches for, also where the stored set is gone; a good source after it does the repair.
func TestOldMirrorAndRestrictionSetTamperedWith(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400), func(o *publisher.Options) { o.Restrictions = restrictionFile(t, 1) })
	w.mustUpdate(updater.Options{})
	old := newSite(t, copyOf(t, filepath.Join(w.repo, "public")))
	w.publish(signatures(0, 400), func(o *publisher.Options) { o.Restrictions = restrictionFile(t, 2) })
	w.mustUpdate(updater.Options{})
	two := w.inForce()
	w.remove("db/restrictions.json")
	w.store = reopen(t, w, old.URL)
	if _, err := w.update(updater.Options{}); !errors.Is(err, signing.ErrStale) || !isOnly(err, signing.ErrUntrusted) {
		t.Errorf("error %v, want stale", err)
	}
	w.unproved()
	w.store = reopen(t, w, old.URL, w.URL)
	if r := w.mustUpdate(updater.Options{}); !hasNote(r, "source_stale") || !hasNote(r, "restrictions_replaced") {
		t.Errorf("report %+v", r)
	}
	if b := w.inForce(); !bytes.Equal(b, two) {
		t.Errorf("in force is %s", b)
	}
}

// Where floors and metadata are lost, the epoch of the stored set is all that is left of them: nothing is asked by the set, but an old mirror does not
// lower it, however often it is asked; a good source proves it. A forged one is not asked by either, and the update says so.
func TestTrustIsLostAndRestrictionSetIsNot(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400), func(o *publisher.Options) { o.Restrictions = restrictionFile(t, 1) })
	w.mustUpdate(updater.Options{})
	old := newSite(t, copyOf(t, filepath.Join(w.repo, "public")))
	floors := filepath.Join(w.store.TrustDir(), "floors.json")
	olderFloors, err := os.ReadFile(floors)
	must(t, err)
	w.publish(signatures(0, 400), func(o *publisher.Options) { o.Restrictions = restrictionFile(t, 2) })
	w.mustUpdate(updater.Options{})
	two := w.inForce()
	lose := func() { w.remove("trust/floors.json", "trust/verified.json") }
	for _, damage := range []func(){lose, func() {
		w.remove("trust/verified.json")
		must(t, os.WriteFile(floors, olderFloors, 0o600))
	}} {
		damage()
		w.unproved()
		w.store = reopen(t, w, old.URL)
		for range 2 {
			if _, err := w.update(updater.Options{}); !errors.Is(err, signing.ErrStale) || !isOnly(err, signing.ErrUntrusted) {
				t.Errorf("error %v, want stale", err)
			}
			w.unproved()
		}
		w.store = reopen(t, w, w.URL)
		w.mustUpdate(updater.Options{})
		if b := w.inForce(); !bytes.Equal(b, two) {
			t.Errorf("in force is %s", b)
		}
	}
	w.place(w.empty(9), 9)
	lose()
	for range 2 {
		if _, err := w.update(updater.Options{}); !errors.Is(err, signing.ErrStale) || !isOnly(err, signing.ErrUntrusted) {
			t.Errorf("error %v, want stale", err)
		}
		w.unproved()
	}
	w.remove("db/restrictions.json")
	lose() // the set taken away and trust begun anew: what KSN.md advises
	w.unproved()
	w.mustUpdate(updater.Options{})
	if b := w.inForce(); !bytes.Equal(b, two) {
		t.Errorf("in force is %s", b)
	}
}

// The same by two old mirrors, one from before the keys for restrictions were replaced and one from after it: the second one does not lower the epoch either.
func TestTrustIsLostAndKeysWereReplaced(t *testing.T) {
	w := newWorld(t)
	publish := func(epoch int) (copied string) {
		w.publish(signatures(0, 400), func(o *publisher.Options) { o.Restrictions = restrictionFile(t, epoch) })
		w.mustUpdate(updater.Options{})
		return newSite(t, copyOf(t, filepath.Join(w.repo, "public"))).URL
	}
	before := publish(1)
	floors := filepath.Join(w.store.TrustDir(), "floors.json")
	olderFloors, err := os.ReadFile(floors)
	must(t, err)
	r, err := signing.OpenRepository(w.repo, "")
	must(t, err)
	must(t, r.Rotate(signing.RoleRestrictions, w.now, nil))
	after := publish(2)
	publish(3)
	three := w.inForce()
	w.remove("trust/verified.json")
	must(t, os.WriteFile(floors, olderFloors, 0o600))
	for _, mirror := range []string{before, after, before, after} {
		w.store = reopen(t, w, mirror)
		if _, err := w.update(updater.Options{}); !isOnly(err, signing.ErrUntrusted) {
			t.Errorf("error %v, want untrusted", err)
		}
		w.unproved()
	}
	w.store = reopen(t, w, w.URL)
	w.mustUpdate(updater.Options{})
	if b := w.inForce(); !bytes.Equal(b, three) {
		t.Errorf("in force is %s", b)
	}
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// Nor do new metadata alone make a lost set none: not where trust was lost, and not where the keys that vouched for its epoch were replaced.
func TestLostRestrictionSetIsNotNone(t *testing.T) {
	for name, lose := range map[string]func(w *world){
		"trust lost": func(w *world) { w.remove("db/restrictions.json", "trust/floors.json", "trust/verified.json") },
		"keys replaced": func(w *world) {
			w.remove("db/restrictions.json")
			r, err := signing.OpenRepository(w.repo, "")
			must(w.t, err)
			must(w.t, r.Rotate(signing.RoleRestrictions, w.now, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, two := restricted(t)
			lose(w)
			w.hostile(only(status(404), "set"))
			for range 2 {
				if _, err := w.update(updater.Options{}); err == nil {
					t.Error("an update without the set is well")
				}
				w.unproved()
			}
			w.hostile(nil)
			w.mustUpdate(updater.Options{})
			if b := w.inForce(); !bytes.Equal(b, two) && name == "trust lost" {
				t.Errorf("in force is %s", b)
			}
		})
	}
}

// Where a source does not give the set, the layers go on, the error says so, and the device stays without one that it could ask by.
func TestRestrictionSetThatCannotBePutBack(t *testing.T) {
	w, _, _ := restricted(t)
	w.remove("db/restrictions.json")
	w.publish(signatures(0, 401))
	w.hostile(only(func(rw http.ResponseWriter, r *http.Request) { http.NotFound(rw, r) }, "set"))
	if r, err := w.update(updater.Options{}); err == nil || r.To != 3 {
		t.Errorf("%v, report %+v", err, r)
	}
	w.unproved()
}

// Signed as it should be, and still no set: a stored one that can be proved stays in force; one that cannot is neither used nor fine.
func TestNoRestrictionSetToPutBack(t *testing.T) {
	w, _, two := restricted(t)
	w.signSet([]byte(`{"schema":1}`))
	if r := w.mustUpdate(updater.Options{}); !hasNote(r, "restrictions_refused") {
		t.Errorf("report %+v", r)
	}
	if b := w.inForce(); !bytes.Equal(b, two) {
		t.Errorf("in force is %s", b)
	}
	w.place(w.empty(9), 9)
	w.unproved()
	if r, err := w.update(updater.Options{}); !isOnly(err, signing.ErrUntrusted) || !hasNote(r, "restrictions_refused") || r.To != 2 {
		t.Errorf("%v, report %+v", err, r)
	}
	w.unproved()
}

// signSet signs bytes as the restriction set, nil for none.
func (w *world) signSet(b []byte) {
	w.t.Helper()
	r, err := signing.OpenRepository(w.repo, "")
	must(w.t, err)
	signed, err := r.Targets(signing.RoleRestrictions)
	must(w.t, err)
	w.sign(r, signing.RoleRestrictions, signed, map[string][]byte{dbformat.RestrictionsTarget: b})
}

// A set under the epoch that is in force, with other content, is a mistake that publishers refuse. Of two the one that is signed now counts: whoever
// can sign it could sign a higher epoch as well, and a floor that was forged beside a set must not keep the true one out.
func TestAnotherSetUnderTheSameEpoch(t *testing.T) {
	w, _, _ := restricted(t)
	other := w.empty(2)
	w.signSet(other)
	if r := w.mustUpdate(updater.Options{}); !hasNote(r, "restrictions_replaced") || show(r) != "restrictions set, light none, rest none" {
		t.Errorf("report %+v", r)
	}
	if b := w.inForce(); !bytes.Equal(b, other) {
		t.Errorf("in force is %s", b)
	}
}

// A thief of the restrictions key raises the epoch; once the key is replaced, the next set takes the place of the thief's, whatever its number.
func TestRestrictionSetOfAThiefGoesWithTheKey(t *testing.T) {
	w, _, _ := restricted(t)
	w.signSet(w.empty(1 << 30))
	w.mustUpdate(updater.Options{})
	r, err := signing.OpenRepository(w.repo, "")
	must(t, err)
	must(t, r.Rotate(signing.RoleRestrictions, w.now, rand.Reader))
	next := w.empty(3)
	w.signSet(next)
	if rep := w.mustUpdate(updater.Options{}); !hasNote(rep, "floor_reset") || show(rep) != "restrictions set, light none, rest none" {
		t.Errorf("report %+v", rep)
	}
	if b := w.inForce(); !bytes.Equal(b, next) {
		t.Errorf("in force is %s", b)
	}
}

// A repository that never named a set vouches for none: what is stored is removed.
func TestRestrictionSetThatNobodySigned(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	w.mustUpdate(updater.Options{})
	if b, ok, err := w.store.ProvedRestrictions(); b != nil || ok || err != nil {
		t.Fatalf("in force is %s, %v", b, err)
	}
	for name, tamper := range map[string]func(){
		"forged":  func() { w.place(w.empty(7), 7) },
		"garbage": func() { must(t, os.WriteFile(w.stored(), []byte("x"), 0o644)) },
	} {
		tamper()
		w.unproved()
		if r := w.mustUpdate(updater.Options{}); r.Result != updater.ResultUpdated || show(r) != "restrictions set, light none, rest none" {
			t.Errorf("%s: report %+v", name, r)
		}
		if b, ok, err := w.store.ProvedRestrictions(); b != nil || ok || err != nil {
			t.Errorf("%s: in force is %s, %v", name, b, err)
		}
	}
}

// Another repository is trusted from now on: by the set of the one before nothing is asked until the first update, which brings the new one's.
func TestRestrictionSetAfterTrustIsReplaced(t *testing.T) {
	w, _, _ := restricted(t)
	other, err := signing.CreateRepository(filepath.Join(t.TempDir(), "other"), signing.RepositoryOptions{Now: w.now})
	must(t, err)
	root, err := os.ReadFile(filepath.Join(other.PublicDir(), "metadata", "1.root.json"))
	must(t, err)
	locked(t, w.store, func() error { return signing.InitTrust(w.store.TrustDir(), root, true) })
	w.unproved()
	locked(t, w.store, w.store.RemoveRestrictions) // as init does
	w.unproved()
	w.store = reopen(t, w, newSite(t, other.PublicDir()).URL)
	if r, err := w.update(updater.Options{}); err == nil {
		t.Errorf("report %+v; want no release", r)
	}
	if b, ok, err := w.store.ProvedRestrictions(); b != nil || ok || err != nil {
		t.Errorf("in force is %s, %v", b, err)
	}
}

// A new device, or a trust folder that was never used, restricts nothing and is not damaged.
func TestNewDeviceHasNoRestrictionSet(t *testing.T) {
	w := newWorld(t)
	if b, ok, err := w.store.ProvedRestrictions(); b != nil || ok || err != nil {
		t.Errorf("in force is %s, %v", b, err)
	}
	must(t, os.RemoveAll(w.store.TrustDir()))
	if _, _, err := w.store.ProvedRestrictions(); err != nil {
		t.Errorf("without a trust folder: %v", err)
	}
	w.place(w.empty(1), 1)
	w.unproved()
}

// Cut off at each change of the disk, an update leaves a set that is proved, the old one or the new one, where one was in force before it; a forged one
// is not used, and gives way to the signed one for good. The next update puts everything right.
func TestNewRestrictionSetCutOffAnywhere(t *testing.T) {
	for _, forged := range []bool{false, true} {
		t.Run(map[bool]string{false: "a newer set", true: "in the place of a forged one"}[forged], func(t *testing.T) {
			w, _, two := restricted(t)
			if forged {
				w.place(w.empty(1<<40), 1<<40)
			}
			w.publish(signatures(0, 400), func(o *publisher.Options) { o.Restrictions = restrictionFile(t, 3) })
			begin := w.store.Dir()
			was, is := 0, 0
			for n := 0; ; n++ {
				dir, calls := copyOf(t, begin), 0
				cut := func(_ signing.DiskCall, change func() error) error {
					if calls++; calls > n {
						return errors.New("cut off")
					}
					return change()
				}
				var err error
				w.store, err = store.Open(dir, store.Options{Now: func() time.Time { return w.now }, Disk: diskFunc(cut)})
				must(t, err)
				_, err = w.update(updater.Options{})
				w.store, _ = store.Open(dir, store.Options{Now: func() time.Time { return w.now }})
				switch b, ok, unproved := w.store.ProvedRestrictions(); {
				case ok && unproved == nil && bytes.Contains(b, []byte(`"epoch":3`)):
					is++
				case is > 0:
					t.Fatalf("cut off after %d changes: in force is %s, %t, %v; after fewer the new set was", n, b, ok, unproved)
				case forged && b == nil && !ok && errors.Is(unproved, store.ErrDamaged):
					was++
				case !forged && ok && unproved == nil && bytes.Equal(b, two):
					was++
				default:
					t.Fatalf("cut off after %d changes: in force is %s, %t, %v", n, b, ok, unproved)
				}
				if err == nil && calls <= n {
					break
				}
				if n%4 == 0 {
					w.mustUpdate(updater.Options{})
					if b := w.inForce(); !bytes.Contains(b, []byte(`"epoch":3`)) {
						t.Fatalf("cut off after %d changes, and updated: in force is %s", n, b)
					}
				}
				must(t, os.RemoveAll(dir))
			}
			if was < 5 || is < 5 {
				t.Errorf("%d runs were cut off before the new set, %d after it", was, is)
			}
		})
	}
}
