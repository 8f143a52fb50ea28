package updater_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

var errSelfTest = &matcher.SelfTestError{Vector: 0, Reason: "for the test"}

// attacked is an endpoint on release 1 for which release 2 is out, with a restriction set.
func attacked(t *testing.T) *world {
	t.Helper()
	return attackedStage.begin(t)
}

var attackedStage = stage{build: func(w *world) {
	w.publish(signatures(0, 400))
	w.mustUpdate(updater.Options{})
	w.publish(signatures(0, 401), withSet(w.t))
}}

// withstands demands that the attack ends with the kind, changes nothing, and that the next run
// succeeds at once when the mirror is whole again.
func (w *world) withstands(kind error, change ...func(*updater.Config)) {
	w.t.Helper()
	r, err := w.update(updater.Options{}, change...)
	if !isOnly(err, kind) {
		w.t.Errorf("error %v, want %v", err, kind)
	}
	if _, ok := errors.AsType[*updater.UpdateError](err); !ok || err != nil && !strings.Contains(err.Error(), "release 1 stays in use") {
		w.t.Errorf("error %v does not say what still works", err)
	}
	if r.Result == updater.ResultCurrent || r.To != 1 {
		w.t.Errorf("report %+v", r)
	}
	w.mustBe("1 full")
	w.hostile(nil)
	if r, err := w.update(updater.Options{}); err != nil || r.To != 2 {
		w.t.Errorf("once the mirror is whole again: %v, %+v", err, r)
	}
	w.mustBe("2 full")
	if l := w.leftovers(); len(l) != 0 {
		w.t.Errorf("left behind: %v", l)
	}
}

// Guard: signatures and hashes of metadata (signing), length and SHA-256 of targets (checkBytes, checkFile).
func TestFlippedByte(t *testing.T) {
	for _, kinds := range [][]string{{"timestamp"}, {"snapshot"}, {"database"}, {"restrictions"}, {"release"},
		{"light.bundle", "light.delta"}, {"rest.bundle", "rest.delta"}} {
		t.Run(kinds[0], func(t *testing.T) {
			w := attacked(t)
			w.hostile(only(w.altered(flip), kinds...))
			w.withstands(signing.ErrUntrusted)
		})
	}
}

// Guard: the restriction set's length and SHA-256. Layers do not wait for it.
func TestFlippedByteInTheRestrictionSet(t *testing.T) {
	w := attacked(t)
	w.hostile(only(w.altered(flip), "set"))
	r, err := w.update(updater.Options{})
	if !isOnly(err, signing.ErrUntrusted) || r.To != 2 {
		t.Errorf("%v, report %+v", err, r)
	}
	if _, ok, _ := w.store.Restrictions(); ok {
		t.Error("a tampered set was stored")
	}
	w.hostile(nil)
	if r := w.mustUpdate(updater.Options{}); show(r) != "restrictions set, light none, rest none" {
		t.Errorf("report %+v", r)
	}
}

// Guard: length of targets; of metadata the length in the role above, and the shape check.
func TestTruncated(t *testing.T) {
	for _, kinds := range [][]string{{"timestamp"}, {"snapshot"}, {"database"}, {"release"}, {"light.bundle", "light.delta"}, {"rest.bundle", "rest.delta"}} {
		t.Run(kinds[0], func(t *testing.T) {
			w := attacked(t)
			w.hostile(only(w.altered(func(b []byte) []byte { return b[:len(b)/2] }), kinds...))
			w.withstands(signing.ErrUntrusted)
		})
	}
}

// Guard: the meter ends a body at its first byte too many.
func TestEndlessBody(t *testing.T) {
	for _, kinds := range [][]string{{"timestamp"}, {"snapshot"}, {"database"}, {"release"}, {"light.bundle", "light.delta"}, {"rest.bundle", "rest.delta"}} {
		t.Run(kinds[0], func(t *testing.T) {
			w := attacked(t)
			w.hostile(only(func(rw http.ResponseWriter, r *http.Request) {
				rw.Write(w.file(r.URL.Path))
				for r.Context().Err() == nil {
					if _, err := rw.Write(make([]byte, 32<<10)); err != nil {
						return
					}
				}
			}, kinds...))
			r, err := w.update(updater.Options{})
			if !isOnly(err, signing.ErrUntrusted) || r.Bytes > 4<<20 {
				t.Errorf("%v after %d bytes", err, r.Bytes)
			}
			w.mustBe("1 full")
		})
	}
}

// Guard: the floors. A mirror that serves yesterday's metadata is stale, whatever was signed then.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	old := filepath.Join(t.TempDir(), "old")
	must(t, os.CopyFS(old, os.DirFS(filepath.Join(w.repo, "public"))))
	w.publish(signatures(0, 401))
	w.mustUpdate(updater.Options{})
	replay := newSite(t, old)
	w.store = reopen(t, w, replay.URL)
	r, err := w.update(updater.Options{})
	if !isOnly(err, signing.ErrUntrusted) || !errors.Is(err, signing.ErrStale) {
		t.Errorf("error %v, want one that says stale", err)
	}
	if e, ok := errors.AsType[*updater.MetadataError](err); !ok || e.Source != replay.URL {
		t.Errorf("error %v does not name the source", err)
	}
	if r.To != 2 {
		t.Errorf("report %+v", r)
	}
	w.mustBe("2 full")

	// A good source behind it suffices.
	w.store = reopen(t, w, replay.URL, w.URL)
	if r := w.mustUpdate(updater.Options{}); r.Source != w.URL || !hasNote(r, "source_stale") {
		t.Errorf("report %+v", r)
	}
}

// reopen sets other sources on the same endpoint.
func reopen(t *testing.T, w *world, sources ...string) *store.Store {
	must(t, w.store.UpdateSettings(func(s *store.Settings) error {
		s.Sources = nil
		for _, u := range sources {
			s.Sources = append(s.Sources, store.SettingsSource{URL: u})
		}
		return nil
	}))
	return w.store
}

// Guard: expiry. A mirror that serves the same for ever is found out when the timestamp expires; the installed release
// goes on protecting.
func TestFreeze(t *testing.T) {
	w := installed.begin(t)
	w.now = w.now.Add(8 * 24 * time.Hour)
	_, err := w.update(updater.Options{})
	if e, ok := errors.AsType[*signing.UntrustedError](err); !ok || e.Reason != signing.ReasonExpired || !isOnly(err, signing.ErrUntrusted) {
		t.Errorf("error %v, want expired", err)
	}
	w.mustBe("1 full")
}

// Guard: every file is named by the one above it. Parts of two releases do not make a third one.
func TestMixAndMatch(t *testing.T) {
	w := attacked(t)
	older := map[string]string{}
	for _, dir := range []string{"targets/light", "targets/rest"} {
		entries, err := os.ReadDir(filepath.Join(w.repo, "public", filepath.FromSlash(dir)))
		must(t, err)
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".bundle") {
				older["/"+dir+"/"+e.Name()] = ""
			}
		}
	}
	// Each layer file is answered with another one of the same layer.
	w.hostile(func(rw http.ResponseWriter, r *http.Request) bool {
		k := kindOfPath(r.URL.Path)
		if k != "rest.bundle" && k != "rest.delta" {
			return false
		}
		for p := range older {
			if p != r.URL.Path && kindOfPath(p) == "rest.bundle" {
				rw.Write(w.file(p))
				return true
			}
		}
		rw.WriteHeader(404)
		return true
	})
	w.withstands(signing.ErrUntrusted)
}

// Guard: the snapshot is bound to its timestamp.
func TestMixAndMatchOfMetadata(t *testing.T) {
	w := attacked(t)
	w.hostile(only(func(rw http.ResponseWriter, r *http.Request) { rw.Write(w.file("metadata/2.snapshot.json")) }, "snapshot"))
	w.withstands(signing.ErrUntrusted)
}

// Guard: the root of trust. A repository with other keys is nobody to this endpoint.
func TestWrongRoot(t *testing.T) {
	w := attacked(t)
	other := anotherWorld(t)
	other.publish(signatures(0, 3))
	for range 5 {
		other.publish(signatures(0, 4+len(other.asked())))
	}
	other.now, w.now = w.now, w.now.Add(7*time.Hour)
	w.store = reopen(t, w, other.URL)
	if _, err := w.update(updater.Options{}); !isOnly(err, signing.ErrUntrusted) {
		t.Errorf("error %v", err)
	}
	w.mustBe("1 full")
}

// Guard: nothing of HTTP is believed; a captive portal is no repository.
func TestCaptivePortal(t *testing.T) {
	w := attacked(t)
	w.hostile(func(rw http.ResponseWriter, r *http.Request) bool {
		rw.Header().Set("Content-Type", "text/html")
		rw.Write([]byte("<html>please log in</html>"))
		return true
	})
	w.withstands(signing.ErrUntrusted)
}

// Guard: a mirror that lacks files is unavailable, which is no accusation.
func TestMirrorLacksFiles(t *testing.T) {
	for _, kinds := range [][]string{{"timestamp"}, {"snapshot"}, {"database"}, {"release"}, {"light.bundle", "light.delta"}, {"rest.bundle", "rest.delta"}} {
		t.Run(kinds[0], func(t *testing.T) {
			w := attacked(t)
			w.hostile(only(status(404), kinds...))
			w.withstands(updater.ErrUnavailable)
		})
	}
}

// Guard: one error has one kind, also where a source fails in two ways at once.
func TestMirrorLacksDeltasAndSpoilsBundles(t *testing.T) {
	w := attacked(t)
	gone, bad := only(status(404), "rest.delta"), only(w.altered(flip), "rest.bundle")
	w.hostile(func(rw http.ResponseWriter, r *http.Request) bool { return gone(rw, r) || bad(rw, r) })
	w.withstands(signing.ErrUntrusted)
}

func TestMirrorRefusesConnections(t *testing.T) {
	w := attacked(t)
	dead := newSite(t, t.TempDir())
	dead.Close()
	w.store = reopen(t, w, dead.URL)
	_, err := w.update(updater.Options{})
	if !isOnly(err, updater.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	w.mustBe("1 full")
}

// Guard: the idle limit. A stalled file is left, and resumed in the next run.
func TestStalledBody(t *testing.T) {
	w := attacked(t)
	w.hostile(only(func(rw http.ResponseWriter, r *http.Request) {
		b := w.file(r.URL.Path)
		rw.Write(b[:len(b)/2])
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	}, "light.bundle", "light.delta"))
	w.withstands(updater.ErrUnavailable, hasty)
}

// Guard: the cap on Retry-After. The cool-down is bounded, kept across runs, and costs no request.
func TestRetryAfterOfAYear(t *testing.T) {
	w := attacked(t)
	w.hostile(func(rw http.ResponseWriter, r *http.Request) bool {
		rw.Header().Set("Retry-After", "31536000")
		rw.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	r, err := w.update(updater.Options{})
	until := w.now.Add(24 * time.Hour)
	if e, ok := errors.AsType[*updater.UpdateError](err); !ok || !e.Until.Equal(until) || !isOnly(err, updater.ErrCoolDown) {
		t.Errorf("error %v, want a cool-down until %s", err, until)
	}
	if r.NextNotBefore == nil || !r.NextNotBefore.Equal(until) || r.Requests != 1 {
		t.Errorf("report %+v", r)
	}
	w.hostile(nil)
	if r, err := w.update(updater.Options{}); !isOnly(err, updater.ErrCoolDown) || r.Requests != 0 || len(w.asked()) != 0 {
		t.Errorf("while it cools down: %v, %+v", err, r)
	}
	w.now = until.Add(time.Second)
	w.mustUpdate(updater.Options{})
	w.mustBe("2 full")
}

// Guard: a source that wants to be left alone is not asked for the bundle in place of the delta.
func TestCoolDownInTheMiddleEndsTheRequests(t *testing.T) {
	w := attacked(t)
	w.hostile(only(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Retry-After", "3600")
		rw.WriteHeader(http.StatusServiceUnavailable)
	}, "light.delta"))
	if _, err := w.update(updater.Options{}); !isOnly(err, updater.ErrCoolDown) {
		t.Errorf("error %v", err)
	}
	if asked := w.asked(); kindOfPath(asked[len(asked)-1]) != "light.delta" {
		t.Errorf("asked %q, want nothing after the answer that says wait", asked)
	}
	w.mustBe("1 full")
}

// Guard: one good source among bad ones suffices, whatever the bad ones do.
func TestOneGoodSourceAmongFiveBad(t *testing.T) {
	w := attacked(t)
	public := filepath.Join(w.repo, "public")
	var urls []string
	for _, f := range []func(rw http.ResponseWriter, r *http.Request) bool{
		only(w.altered(flip), "timestamp"),
		only(w.altered(flip), "rest.bundle", "rest.delta"),
		only(func(rw http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timestamp"),
		func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Retry-After", "99999999999999999999")
			rw.WriteHeader(503)
			return true
		},
		func(rw http.ResponseWriter, r *http.Request) bool {
			http.Redirect(rw, r, "file:///etc/hostname", http.StatusFound)
			return true
		},
	} {
		bad := newSite(t, public)
		bad.hostile(f)
		urls = append(urls, bad.URL)
	}
	w.store = reopen(t, w, append(urls, w.URL)...)
	start := time.Now()
	// The one that never answers is waited for three times; the good one has the same limits, also on a busy machine.
	r := w.mustUpdate(updater.Options{}, func(c *updater.Config) { c.Limits.Header, c.Limits.Idle = 5*time.Second, 5*time.Second })
	if r.Source != w.URL || r.To != 2 || time.Since(start) > time.Minute {
		t.Errorf("report %+v after %s", r, time.Since(start))
	}
	failed := 0
	for _, n := range r.Notes {
		if strings.HasPrefix(n, "source_failed: ") {
			failed++
		}
	}
	if failed != 5 {
		t.Errorf("notes %q, want five failed sources", r.Notes)
	}
	w.mustBe("2 full")
	states, err := w.store.SourceStates()
	if err != nil || len(states) != 6 || states[w.URL].LastSuccess.IsZero() || states[urls[0]].LastError == "" || states[urls[3]].CoolDownUntil.IsZero() {
		t.Errorf("states %+v, %v", states, err)
	}
}

// Guard: of several failures the one that needs a person outweighs the one that passes.
func TestWorstOfSeveralSources(t *testing.T) {
	w := attacked(t)
	cool := newSite(t, t.TempDir())
	cool.hostile(func(rw http.ResponseWriter, r *http.Request) bool {
		rw.Header().Set("Retry-After", "7200")
		rw.WriteHeader(503)
		return true
	})
	gone := newSite(t, t.TempDir())
	bad := newSite(t, filepath.Join(w.repo, "public"))
	bad.hostile(only(w.altered(flip), "release"))
	w.store = reopen(t, w, gone.URL, cool.URL)
	if _, err := w.update(updater.Options{}); !isOnly(err, updater.ErrCoolDown) {
		t.Errorf("unavailable and cool-down: %v", err)
	}
	w.store = reopen(t, w, gone.URL, bad.URL, cool.URL)
	_, err := w.update(updater.Options{})
	if e, ok := errors.AsType[*updater.UpdateError](err); !ok || len(e.Causes) != 3 || !isOnly(err, signing.ErrUntrusted) {
		t.Errorf("all three: %v", err)
	}
	w.mustBe("1 full")
}
