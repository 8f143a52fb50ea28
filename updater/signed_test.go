package updater_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// These tests hold the publisher's keys: everything is properly signed, and wrong.

// forge signs another state of the database role: files replace or join what is signed, nil takes one away. Deltas go
// unless files has them.
func (w *world) forge(change func(rec *dbformat.ReleaseRecord, files map[string][]byte)) {
	w.t.Helper()
	r, err := signing.OpenRepository(w.repo, "")
	must(w.t, err)
	signed, err := r.Targets(signing.RoleDatabase)
	must(w.t, err)
	rec := w.record()
	files := map[string][]byte{}
	for _, t := range signed {
		if strings.HasSuffix(t.Path, ".delta") {
			files[t.Path] = nil
		}
	}
	change(rec, files)
	if _, own := files[dbformat.ReleaseTarget]; !own {
		b, err := rec.Encode()
		must(w.t, err)
		files[dbformat.ReleaseTarget] = b
	}
	w.sign(r, signing.RoleDatabase, signed, files)
}

func (w *world) sign(r *signing.Repository, role string, signed []signing.Target, files map[string][]byte) {
	w.t.Helper()
	signed = slices.DeleteFunc(signed, func(t signing.Target) bool { _, gone := files[t.Path]; return gone })
	for path, b := range files {
		if b == nil {
			continue
		}
		t, err := r.AddTargetBytes(path, b)
		must(w.t, err)
		signed = append(signed, t)
	}
	w.now = w.now.Add(time.Minute)
	must(w.t, r.Commit(map[string][]signing.Target{role: signed}, w.now))
}

// signed lists what the database role vouches for.
func (w *world) signed() []signing.Target {
	w.t.Helper()
	r, err := signing.OpenRepository(w.repo, "")
	must(w.t, err)
	signed, err := r.Targets(signing.RoleDatabase)
	must(w.t, err)
	return signed
}

// record is the release record that is signed now.
func (w *world) record() *dbformat.ReleaseRecord {
	w.t.Helper()
	rec, err := dbformat.ParseReleaseRecord(w.target(dbformat.ReleaseTarget))
	must(w.t, err)
	return rec
}

// target is the content of a signed target.
func (w *world) target(path string) []byte {
	w.t.Helper()
	for _, t := range w.signed() {
		if t.Path == path {
			return w.file("targets/" + t.Name())
		}
	}
	w.t.Fatalf("%s is not signed", path)
	return nil
}

// withLayers lends the light and rest layers of the endpoint's current generation.
func withLayers(t *testing.T, s *store.Store, f func(light, rest dbformat.LayerReader)) {
	t.Helper()
	_, light, rest, err := s.OpenCurrent()
	must(t, err)
	defer light.Close()
	defer rest.Close()
	f(light, rest)
}

func TestSignedAndWrong(t *testing.T) {
	type files = map[string][]byte
	for _, c := range []struct {
		name  string
		forge func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte)
		kind  error
		text  string
	}{
		{"needs a newer engine", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			rec.Stable.MinEngine = dbformat.EngineLevel + 1
		}, dbformat.ErrVersion, "newer engine"},
		{"record of a later schema", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			f[dbformat.ReleaseTarget] = []byte("{\"schema\": 2}\n")
		}, dbformat.ErrVersion, "schema"},
		{"record that is none", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			f[dbformat.ReleaseTarget] = []byte("{}")
		}, signing.ErrUntrusted, "release"},
		{"no record", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			f[dbformat.ReleaseTarget] = nil
		}, signing.ErrUntrusted, "was seen before"},
		{"bundle that is none", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			f[dbformat.BundleTarget(dbformat.Rest, rec.Stable.Rest.Digest)] = []byte("garbage")
		}, signing.ErrUntrusted, "rest/"},
		{"bundle of another layer", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			f[dbformat.BundleTarget(dbformat.Rest, rec.Stable.Rest.Digest)] = w.target(dbformat.BundleTarget(dbformat.Light, rec.Stable.Light.Digest))
		}, signing.ErrUntrusted, "rest/"},
		{"bundle of another release", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			f[dbformat.BundleTarget(dbformat.Light, rec.Stable.Light.Digest)] = old
		}, signing.ErrUntrusted, "digest"},
		{"truncated bundle", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			p := dbformat.BundleTarget(dbformat.Light, rec.Stable.Light.Digest)
			f[p] = w.target(p)[:100]
		}, signing.ErrUntrusted, "light/"},
		{"no bundle at all", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			f[dbformat.BundleTarget(dbformat.Light, rec.Stable.Light.Digest)] = nil
		}, updater.ErrUnavailable, "names no file"},
		{"a delta that is none and no bundle", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			f[dbformat.BundleTarget(dbformat.Light, rec.Stable.Light.Digest)] = nil
			f["light/1-2.delta"] = []byte("garbage")
		}, signing.ErrUntrusted, "no bundle is published"},
		{"light and rest of different releases", func(w *world, rec *dbformat.ReleaseRecord, f files, old []byte) {
			c, err := w.store.Current()
			must(w.t, err)
			rec.Stable.Rest.Digest, rec.Stable.Rest.Since = c.Rest.Digest, 1
		}, signing.ErrUntrusted, "release 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := installed.begin(t)
			old := w.target(dbformat.BundleTarget(dbformat.Light, w.record().Stable.Light.Digest))
			w.publish(signatures(0, 401))
			before := w.signed()
			w.forge(func(rec *dbformat.ReleaseRecord, f files) { c.forge(w, rec, f, old) })
			_, err := w.update(updater.Options{})
			if !isOnly(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v that says %q", err, c.kind, c.text)
			}
			w.mustBe("1 full")
			// The next release, as it should be, heals it.
			r, err := signing.OpenRepository(w.repo, "")
			must(t, err)
			w.sign(r, signing.RoleDatabase, before, nil)
			rep := w.mustUpdate(updater.Options{})
			w.mustBe("2 full")
			if l := w.leftovers(); len(l) != 0 {
				t.Errorf("left behind after %s: %v", show(rep), l)
			}
		})
	}
}

// deltas makes the two deltas from one endpoint's generation to another one's.
func deltas(t *testing.T, from, to *store.Store) (lightDelta, restDelta []byte) {
	t.Helper()
	withLayers(t, from, func(oldLight, oldRest dbformat.LayerReader) {
		withLayers(t, to, func(newLight, newRest dbformat.LayerReader) {
			var err error
			lightDelta, err = dbformat.MakeLightDelta(oldLight, newLight)
			must(t, err)
			restDelta, err = dbformat.MakeRestDelta(oldLight, newLight, oldRest, newRest)
			must(t, err)
		})
	})
	return lightDelta, restDelta
}

// A delta that is signed and does not lead to the signed digest says that the base is damaged or the publisher erred. The bundle
// is taken, once; no source is blamed.
func TestSignedDeltaWithAWrongResult(t *testing.T) {
	const lightPath, restPath = "light/1-2.delta", "rest/1-2.delta"
	for _, c := range []struct {
		name  string
		forge func(light, rest, light3, rest3 []byte) (l, r []byte)
		steps string
	}{
		{"both good", func(l, r, l3, r3 []byte) ([]byte, []byte) { return l, r }, "light delta, rest delta"},
		{"light leads elsewhere", func(l, r, l3, r3 []byte) ([]byte, []byte) { return l3, r }, "light bundle, rest bundle"},
		{"rest leads elsewhere", func(l, r, l3, r3 []byte) ([]byte, []byte) { return l, r3 }, "light delta, rest bundle"},
		{"light is garbage", func(l, r, l3, r3 []byte) ([]byte, []byte) { return []byte("garbage"), r }, "light bundle, rest bundle"},
		{"rest is garbage", func(l, r, l3, r3 []byte) ([]byte, []byte) { return l, []byte("garbage") }, "light delta, rest bundle"},
		{"rest is light's", func(l, r, l3, r3 []byte) ([]byte, []byte) { return l, l }, "light delta, rest bundle"},
		{"light is cut", func(l, r, l3, r3 []byte) ([]byte, []byte) { return l[:len(l)-1], r }, "light bundle, rest bundle"},
		{"rest is cut", func(l, r, l3, r3 []byte) ([]byte, []byte) { return l, r[:len(r)-1] }, "light delta, rest bundle"},
		{"rest without the light delta that it leans on", func(l, r, l3, r3 []byte) ([]byte, []byte) { return nil, r }, "light bundle, rest bundle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := installed.begin(t)
			one := w.store
			w.publish(signatures(0, 401))
			two := w.endpoint(w.URL)
			w.store = two
			w.mustUpdate(updater.Options{})
			light2, rest2 := deltas(t, one, two)
			light3, rest3 := wrongDeltas(t, w, one)
			w.store = one
			l, r := c.forge(light2, rest2, light3, rest3)
			w.forge(func(rec *dbformat.ReleaseRecord, f map[string][]byte) { f[lightPath], f[restPath] = l, r })
			rep := w.mustUpdate(updater.Options{})
			if show(rep) != c.steps || rep.To != 2 || hasNote(rep, "delta_refused") != (strings.Contains(c.steps, "bundle") && l != nil) {
				t.Errorf("steps %s, notes %q; want %s", show(rep), rep.Notes, c.steps)
			}
			w.mustBe("2 full")
			states, err := w.store.SourceStates()
			if err != nil || states[w.URL].LastError != "" {
				t.Errorf("the source is blamed: %+v, %v", states, err)
			}
			if l := w.leftovers(); len(l) != 0 {
				t.Errorf("left behind: %v", l)
			}
		})
	}
}

// wrongDeltas lead from one's generation to a content that was never published in w.
func wrongDeltas(t *testing.T, w *world, one *store.Store) (light, rest []byte) {
	t.Helper()
	other := *w
	other.t = t
	other.repo = w.repo + "-other"
	_, err := signing.CreateRepository(other.repo, signing.RepositoryOptions{Now: w.now})
	must(t, err)
	other.publish(signatures(0, 402))
	site := newSite(t, other.repo+"/public")
	other.site = site
	other.store = other.endpoint(site.URL)
	other.mustUpdate(updater.Options{})
	must(t, err)
	return deltas(t, one, other.store)
}

// A layer on disk that lost a bit makes a good delta fail. The bundle heals it.
func TestDeltaFromADamagedLayer(t *testing.T) {
	w := installed.begin(t)
	one := w.store
	w.publish(signatures(0, 401))
	w.store = w.endpoint(w.URL)
	w.mustUpdate(updater.Options{})
	l, r := deltas(t, one, w.store)
	w.forge(func(rec *dbformat.ReleaseRecord, f map[string][]byte) {
		f["light/1-2.delta"], f["rest/1-2.delta"] = l, r
	})
	w.store = one
	c, err := one.Current()
	must(t, err)
	damage(t, one, c.Rest.Digest)
	rep := w.mustUpdate(updater.Options{})
	if show(rep) != "light delta, rest bundle" || !hasNote(rep, "delta_refused") && !hasNote(rep, "damaged") {
		t.Errorf("steps %s, notes %q", show(rep), rep.Notes)
	}
	w.mustBe("2 full")
}

// damage flips bytes of a layer file until the store sees it.
func damage(t *testing.T, s *store.Store, d dbformat.Digest) {
	t.Helper()
	p := filepath.Join(s.Dir(), "db", "layers", d.String()+".db")
	b, err := os.ReadFile(p)
	must(t, err)
	for at := len(b) / 2; at < len(b); at += 1000 {
		b[at] ^= 1
		must(t, os.WriteFile(p, b, 0o644))
		f, err := s.OpenLayer(d, dbformat.Rest)
		if err == nil {
			err = f.Verify(nil)
			f.Close()
		}
		if err != nil {
			return
		}
	}
	t.Fatal("no flip was noticed")
}

// Guard: the store and the release floor. Newer metadata with an older release is refused.
func TestReleaseBelowTheFloor(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	first := w.target(dbformat.ReleaseTarget)
	bundles := map[string][]byte{}
	for _, l := range []dbformat.Layer{dbformat.Light, dbformat.Rest} {
		p := dbformat.BundleTarget(l, w.record().Stable.Layer(l).Digest)
		bundles[p] = w.target(p)
	}
	w.publish(signatures(0, 401))
	w.mustUpdate(updater.Options{})
	w.forge(func(rec *dbformat.ReleaseRecord, f map[string][]byte) {
		f[dbformat.ReleaseTarget] = first
		for p, b := range bundles {
			f[p] = b
		}
	})
	_, err := w.update(updater.Options{})
	if e, ok := errors.AsType[*signing.UntrustedError](err); !ok || e.Role != "release" || e.Version != 1 && e.Floor != 2 || !isOnly(err, signing.ErrUntrusted) {
		t.Errorf("error %v (%+v), want a rollback of the release", err, e)
	}
	w.mustBe("2 full")
}

// A restriction set that is signed and cannot be used stays out, the old one stays in force, and the layers go on.
func TestSignedRestrictionSetThatIsNone(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400), withSet(t))
	w.mustUpdate(updater.Options{})
	before, _, _ := w.store.Restrictions()
	w.publish(signatures(0, 401))
	r, err := signing.OpenRepository(w.repo, "")
	must(t, err)
	signed, err := r.Targets(signing.RoleRestrictions)
	must(t, err)
	w.sign(r, signing.RoleRestrictions, signed, map[string][]byte{dbformat.RestrictionsTarget: []byte(`{"schema":1}`)})
	rep := w.mustUpdate(updater.Options{})
	if !hasNote(rep, "restrictions_refused") || rep.To != 2 {
		t.Errorf("report %+v", rep)
	}
	if now, ok, err := w.store.Restrictions(); !ok || err != nil || !bytes.Equal(now, before) {
		t.Errorf("in force now: %s, %v", now, err)
	}
}

// Inside its cohort an install takes the candidate; outside it stays at stable.
func TestCandidate(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	first := w.record().Stable
	w.mustUpdate(updater.Options{})
	w.publish(signatures(0, 401))
	settings, err := w.store.Settings()
	must(t, err)
	place := dbformat.Cohort(settings.Install, 2)
	share := func(bp uint32) {
		w.forge(func(rec *dbformat.ReleaseRecord, f map[string][]byte) {
			next := rec.Stable
			if rec.Candidate != nil {
				next = rec.Candidate.Release
			}
			rec.Stable, rec.Candidate = first, &dbformat.Candidate{Release: next, ShareBP: bp}
		})
	}
	if place > 0 {
		share(place)
		if r := w.mustUpdate(updater.Options{}); r.Result != updater.ResultCurrent || r.To != 1 {
			t.Errorf("outside the cohort: %+v", r)
		}
	}
	share(place + 1)
	if r := w.mustUpdate(updater.Options{}); r.Result != updater.ResultUpdated || r.To != 2 {
		t.Errorf("inside the cohort: %+v", r)
	}
	w.mustBe("2 full")
}

// A release that bears a time to come is used, for the clock of this device may be the wrong one, and noted.
func TestReleaseOfTheFutureIsNoted(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 10))
	w.now = w.now.Add(-30 * time.Hour)
	r, err := w.update(updater.Options{})
	if err != nil || r.To != 1 || !hasNote(r, updater.NoteReleaseInFuture) {
		t.Errorf("%v, report %+v", err, r)
	}
}
