package updater_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

const (
	light = "light"
	full  = "full"
)

func TestFirstInstallThenCurrent(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	r := w.mustUpdate(updater.Options{})
	if r.Result != updater.ResultUpdated || r.From != 0 || r.To != 1 || r.Variant != full || r.PendingVariant != "" || r.Source != w.URL ||
		show(r) != "light bundle, rest bundle" {
		t.Errorf("report %+v", r)
	}
	w.mustBe("1 full")
	var sum int64
	for _, s := range r.Steps {
		sum += s.Bytes
		if s.Why == "" || s.To != 1 {
			t.Errorf("step %+v", s)
		}
	}
	if asked := w.asked(); int64(len(asked)) != r.Requests || r.Bytes <= sum {
		t.Errorf("%d requests of %q, %d bytes; the steps alone are %d", r.Requests, asked, r.Bytes, sum)
	}
	if r.NextNotBefore == nil || !r.NextNotBefore.Equal(w.now.Add(time.Hour+6*time.Minute)) {
		t.Errorf("next not before %v, want an hour and half of the jitter from now", r.NextNotBefore)
	}

	r = w.mustUpdate(updater.Options{})
	if r.Result != updater.ResultCurrent || r.From != 1 || r.To != 1 || show(r) != "light none, rest none" || r.Requests != 3 {
		t.Errorf("nothing new: %+v; want the missing root, the timestamp and the release record asked for", r)
	}
	if l := w.leftovers(); len(l) != 0 {
		t.Errorf("left behind: %v", l)
	}
	h, err := w.store.History(0)
	if err != nil || len(h) != 2 || h[1].Result != "updated" || h[1].To != 1 || h[0].Result != "current" {
		t.Errorf("history %+v, %v", h, err)
	}
}

func TestFullToLightMovesNothingAndLightToFullOnlyRest(t *testing.T) {
	w := installed.begin(t)
	r := w.mustUpdate(updater.Options{Variant: light})
	if r.Result != updater.ResultUpdated || r.Variant != light || show(r) != "light none" || r.Steps[0].Bytes != 0 {
		t.Errorf("full to light: %+v", r)
	}
	for _, p := range w.asked() {
		if strings.HasPrefix(p, "/targets/light/") || strings.HasPrefix(p, "/targets/rest/") {
			t.Errorf("full to light fetched %s", p)
		}
	}
	w.mustBe("1 light")
	r = w.mustUpdate(updater.Options{Variant: full})
	if show(r) != "light none, rest reuse" {
		t.Errorf("back to full with rest kept: %+v", r.Steps)
	}
	w.mustBe("1 full")

	// An install that never had rest fetches rest, and nothing of light.
	w.store = w.endpoint(w.URL)
	w.mustUpdate(updater.Options{Variant: light})
	w.mustBe("1 light")
	r = w.mustUpdate(updater.Options{Variant: full})
	if show(r) != "light none, rest bundle" || r.Result != updater.ResultUpdated || r.From != 1 || r.To != 1 {
		t.Errorf("light to full: %+v", r)
	}
	for _, p := range w.asked() {
		if strings.HasPrefix(p, "/targets/light/") {
			t.Errorf("light to full fetched %s", p)
		}
	}
	w.mustBe("1 full")
}

func TestAutoFollowsTheSettings(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 100))
	w.mustUpdate(updater.Options{})
	set := func(f func(*store.Settings)) {
		must(t, w.store.UpdateSettings(func(s *store.Settings) error { f(s); return nil }))
	}
	set(func(s *store.Settings) { s.CloudMode = true })
	if r := w.mustUpdate(updater.Options{}); r.Variant != full {
		t.Errorf("cloud mode without consent selects %s", r.Variant)
	}
	set(func(s *store.Settings) {
		s.KSN.Mode = "basic"
		s.KSN.Accepted = &store.SettingsConsent{Version: "1", Language: "en", Time: dbformat.At(noon), Mode: "basic"}
	})
	if r := w.mustUpdate(updater.Options{}); r.Variant != light {
		t.Errorf("effective cloud mode selects %s", r.Variant)
	}
	set(func(s *store.Settings) { s.Update.Variant = "full" })
	if r := w.mustUpdate(updater.Options{}); r.Variant != full {
		t.Errorf("the setting full selects %s", r.Variant)
	}
	if r := w.mustUpdate(updater.Options{Variant: "auto"}); r.Variant != light {
		t.Errorf("the option auto selects %s", r.Variant)
	}
}

func TestNotOfferedAsLightGivesFullWithTheNote(t *testing.T) {
	w := newWorld(t)
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	must(t, os.WriteFile(policy, []byte("variants: [full]\n"), 0o600))
	w.publish(signatures(0, 100), func(o *publisher.Options) { o.Policy = policy })
	r := w.mustUpdate(updater.Options{Variant: light})
	if r.Variant != full || !hasNote(r, "light_unavailable") || r.PendingVariant != "" {
		t.Errorf("report %+v", r)
	}
	w.mustBe("1 full")
}

func restrictionFile(t *testing.T, epoch int) string {
	p := filepath.Join(t.TempDir(), "r.json")
	b, err := json.Marshal(map[string]any{"schema": 1, "epoch": epoch, "records": []any{map[string]any{
		"id": "t-1", "action": "disable", "priority": 100, "reason": map[string]any{"code": "test"},
		"expires": noon.Add(10 * 24 * time.Hour).Format(time.RFC3339)}}})
	must(t, err)
	must(t, os.WriteFile(p, b, 0o600))
	return p
}

func TestRestrictionsOnlyReleaseMovesOneSmallFile(t *testing.T) {
	w := installed.begin(t)
	file := restrictionFile(t, 1)
	w.publish(signatures(0, 400), func(o *publisher.Options) { o.Restrictions = file })
	r := w.mustUpdate(updater.Options{})
	if r.Result != updater.ResultUpdated || show(r) != "restrictions set, light none, rest none" || r.Steps[0].Bytes == 0 || r.Steps[0].Bytes > 4096 {
		t.Errorf("report %+v", r)
	}
	b, ok, err := w.store.Restrictions()
	if !ok || err != nil || !strings.Contains(string(b), "t-1") {
		t.Errorf("stored %s, %v, %v", b, ok, err)
	}
	if r := w.mustUpdate(updater.Options{}); len(r.Steps) != 2 {
		t.Errorf("the same set again: %+v", r.Steps)
	}
}

// Layers of a release that is held stay out; a restriction set does not wait for them.
func TestHoldStopsLayersAndNotRestrictions(t *testing.T) {
	w := installed.begin(t)
	w.publish(signatures(0, 401))
	w.mustUpdate(updater.Options{})
	locked(t, w.store, func() error { _, err := w.store.Rollback(true); return err })
	w.mustBe("1 full")
	file := restrictionFile(t, 1)
	w.publish(signatures(0, 402), func(o *publisher.Options) { o.Restrictions = file })
	r := w.mustUpdate(updater.Options{})
	if show(r) != "restrictions set" || !hasNote(r, "held") || r.To != 1 {
		t.Errorf("report %+v", r)
	}
	w.mustBe("1 full")
	locked(t, w.store, w.store.ReleaseHold)
	w.mustUpdate(updater.Options{})
	w.mustBe("3 full")
}

func TestRollbackHoldsTheReleaseItLeftUntilAHigherOne(t *testing.T) {
	w := installed.begin(t)
	w.publish(signatures(0, 401))
	w.mustUpdate(updater.Options{})
	locked(t, w.store, func() error { _, err := w.store.Rollback(false); return err })
	if r := w.mustUpdate(updater.Options{}); r.Result != updater.ResultCurrent || !hasNote(r, "held") {
		t.Errorf("report %+v", r)
	}
	w.mustBe("1 full")
	w.publish(signatures(0, 402))
	w.mustUpdate(updater.Options{})
	w.mustBe("3 full")
}

func locked(t *testing.T, s *store.Store, f func() error) {
	t.Helper()
	l, err := s.Lock()
	must(t, err)
	defer l.Unlock()
	must(t, f())
}

func TestCheckAndDryRunChangeNothing(t *testing.T) {
	w := newWorld(t)
	file := restrictionFile(t, 1)
	w.publish(signatures(0, 400), func(o *publisher.Options) { o.Restrictions = file })
	for _, o := range []updater.Options{{Check: true}, {DryRun: true}} {
		r := w.mustUpdate(o)
		if r.Result != updater.ResultAvailable || r.To != 1 || show(r) != "restrictions set, light bundle, rest bundle" {
			t.Errorf("report %+v", r)
		}
		w.mustBe("none")
		if _, ok, _ := w.store.Restrictions(); ok {
			t.Error("the restriction set was stored")
		}
	}
	w.mustUpdate(updater.Options{})
	if r := w.mustUpdate(updater.Options{Check: true}); r.Result != updater.ResultCurrent {
		t.Errorf("nothing new: %+v", r)
	}
}

// What one source fails at is reported once, though the next one is looked at, too.
func TestCheckReportsARestrictionSetOnce(t *testing.T) {
	w := attacked(t)
	bad := newSite(t, filepath.Join(w.repo, "public"))
	bad.hostile(only(w.altered(flip), "release"))
	w.store = reopen(t, w, bad.URL, w.URL)
	r := w.mustUpdate(updater.Options{Check: true})
	if show(r) != "restrictions set, light delta, rest delta" || r.Result != updater.ResultAvailable {
		t.Errorf("report %+v", r)
	}
	w.store = reopen(t, w, bad.URL)
	if _, err := w.update(updater.Options{Check: true}); err == nil || !strings.Contains(err.Error(), "release 1 stays in use") {
		t.Errorf("error %v", err)
	}
}

// A run that died between the storing of a set and the raising of its floor is made good by the next one.
func TestRestrictionSetStoredAndNotAccepted(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 100))
	w.mustUpdate(updater.Options{})
	w.publish(signatures(0, 100), withSet(t))
	floors := filepath.Join(w.store.TrustDir(), "floors.json")
	died := errors.New("died")
	func() {
		defer func() {
			if r := recover(); r != died {
				t.Errorf("the update ended with %v", r)
			}
		}()
		// The set is stored before the release is looked at; the floor that was raised with it is put back.
		before, err := os.ReadFile(floors)
		must(t, err)
		w.update(updater.Options{}, func(c *updater.Config) {
			c.Step = func(name string) {
				if name == "release" {
					must(t, os.WriteFile(floors, before, 0o600))
					panic(died)
				}
			}
		})
	}()
	if _, ok, err := w.store.Restrictions(); !ok || err != nil {
		t.Fatalf("no set is stored: %v", err)
	}
	if b, _ := os.ReadFile(floors); bytes.Contains(b, []byte(`"epoch"`)) {
		t.Fatalf("the floor is there already: %s", b)
	}
	w.mustUpdate(updater.Options{})
	if b, _ := os.ReadFile(floors); !bytes.Contains(b, []byte(`"epoch"`)) {
		t.Errorf("the floor of epochs is missing in %s", b)
	}
}

// Guard: signing.ErrStorage. A trust folder that cannot be written is this machine's fault: another source is not asked.
func TestTrustFolderThatCannotBeWritten(t *testing.T) {
	for _, at := range []string{"refresh", "accept"} {
		t.Run(at, func(t *testing.T) {
			w := attacked(t)
			w.store = reopen(t, w, w.URL, w.URL)
			floors := filepath.Join(w.store.TrustDir(), "floors.json")
			inTheWay := func(name string) {
				if name == at {
					os.Remove(floors)
					must(t, os.MkdirAll(filepath.Join(floors, "x"), 0o700)) // nothing can be renamed over it
				}
			}
			r, err := w.update(updater.Options{}, func(c *updater.Config) { c.Step = inTheWay })
			if e, ok := errors.AsType[*store.Error](err); !ok || e.Path != floors || e.Remedy == "" || !isOnly(err, store.ErrStorage) {
				t.Errorf("error %v, want ErrStorage that names %s", err, floors)
			}
			if u, ok := errors.AsType[*updater.UpdateError](err); !ok || len(u.Causes) != 1 {
				t.Errorf("error %v, want that of one source", err)
			}
			if states, err := w.store.SourceStates(); err != nil || states[w.URL].LastError != "" {
				t.Errorf("the source is blamed: %+v, %v", states, err)
			}
			if want := map[string]uint64{"refresh": 1, "accept": 2}[at]; r.To != want {
				t.Errorf("release %d is reported, want %d", r.To, want)
			}
			must(t, os.RemoveAll(floors))
			w.mustUpdate(updater.Options{})
			w.mustBe("2 full")
		})
	}
}

func TestFileSourceEndToEnd(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	slashed := filepath.ToSlash(filepath.Join(w.repo, "public"))
	w.store = w.endpoint("file://" + "/" + strings.TrimPrefix(slashed, "/"))
	r := w.mustUpdate(updater.Options{})
	if r.Result != updater.ResultUpdated || r.Bytes == 0 || len(w.asked()) != 0 {
		t.Errorf("report %+v", r)
	}
	w.mustBe("1 full")
}

func TestNotSetUp(t *testing.T) {
	w := newWorld(t)
	w.store = w.endpoint()
	if _, err := w.update(updater.Options{}); !errors.Is(err, updater.ErrNotSetUp) {
		t.Errorf("no sources: %v", err)
	}
	s, err := store.Create(filepath.Join(t.TempDir(), "s"), store.Options{})
	must(t, err)
	w.store = s
	if _, err := w.update(updater.Options{}); !errors.Is(err, signing.ErrNoTrust) {
		t.Errorf("no trust: %v", err)
	}
	w.store, err = store.Open(filepath.Join(t.TempDir(), "absent"), store.Options{})
	must(t, err)
	if _, err := w.update(updater.Options{}); err == nil {
		t.Error("an absent state folder is no error")
	}
	if _, err := updater.New(updater.Config{}); err == nil {
		t.Error("a Config without a store is no error")
	}
	w.store = w.endpoint(w.URL)
	if _, err := w.update(updater.Options{Variant: "both"}); err == nil {
		t.Error("an unknown variant is no error")
	}
}

// Two updates at once: one works, the other one leaves at once, without a request.
func TestTwoUpdatesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	entered, leave := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := w.updater(func(c *updater.Config) {
			c.Step = func(name string) {
				if name == "fetch" {
					select {
					case entered <- struct{}{}:
						<-leave
					default:
					}
				}
			}
		}).Update(context.Background(), updater.Options{})
		done <- err
	}()
	<-entered
	w.asked()
	start := time.Now()
	r, err := w.updater().Update(t.Context(), updater.Options{})
	if !isOnly(err, store.ErrLocked) || time.Since(start) > time.Minute || len(w.asked()) != 0 {
		t.Errorf("the second update: %v after %s (%+v)", err, time.Since(start), r)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Errorf("the first update: %v", err)
	}
	w.mustBe("1 full")
}

func TestDamagedLayerIsFetchedAgain(t *testing.T) {
	w := installed.begin(t)
	c, err := w.store.Current()
	must(t, err)
	p := filepath.Join(w.store.Dir(), "db", "layers", c.Light.Digest.String()+".db")
	must(t, os.Truncate(p, 5000))
	r := w.mustUpdate(updater.Options{})
	if show(r) != "light bundle, rest none" || !hasNote(r, "damaged") {
		t.Errorf("report %+v", r)
	}
	w.mustBe("1 full")
	must(t, os.WriteFile(filepath.Join(w.store.Dir(), "db", "CURRENT"), []byte("x"), 0o644))
	r = w.mustUpdate(updater.Options{})
	if show(r) != "light reuse, rest reuse" || !hasNote(r, "damaged") || r.Result != updater.ResultUpdated {
		t.Errorf("CURRENT damaged: %+v", r)
	}
	w.mustBe("1 full")
}

// A flipped bit anywhere in a layer's blocks is healed by the next update.
func TestFlippedBitOnDiskIsHealed(t *testing.T) {
	w := installed.begin(t)
	c, err := w.store.Current()
	must(t, err)
	p := filepath.Join(w.store.Dir(), "db", "layers", c.Rest.Digest.String()+".db")
	whole, err := os.ReadFile(p)
	must(t, err)
	healed := 0
	for at := len(whole) / 7; at < len(whole); at += len(whole) / 7 {
		b := slices.Clone(whole)
		b[at] ^= 4
		must(t, os.WriteFile(p, b, 0o644))
		if r := w.mustUpdate(updater.Options{}); show(r) == "light none, rest bundle" && hasNote(r, "damaged") {
			healed++
		}
		w.mustBe("1 full")
	}
	if healed == 0 {
		t.Error("no flip was noticed")
	}
}

func TestDiskTooSmall(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 400))
	r, err := w.update(updater.Options{}, func(c *updater.Config) { c.Limits.HeadRoom = 1 << 60 })
	if e, ok := errors.AsType[*store.Error](err); !ok || !isOnly(err, store.ErrStorage) || !strings.Contains(e.What, "bytes are free") {
		t.Errorf("error %v, want ErrStorage with both figures", err)
	}
	for _, p := range w.asked() {
		if strings.HasSuffix(p, ".bundle") {
			t.Errorf("fetched %s though it does not fit", p)
		}
	}
	w.mustBe("none")
	if r.Steps == nil && r.To != 0 {
		t.Errorf("report %+v", r)
	}
}

// A release that does not do what its own vectors demand is never made current.
func TestSelfTestFails(t *testing.T) {
	w := installed.begin(t)
	w.publish(signatures(0, 401))
	_, err := w.update(updater.Options{}, func(c *updater.Config) {
		c.SelfTest = func(light, rest dbformat.LayerReader) error { return errSelfTest }
	})
	if !isOnly(err, signing.ErrUntrusted) || !errors.Is(err, errSelfTest) {
		t.Errorf("error %v", err)
	}
	w.mustBe("1 full")
}

func TestHooksRunAfterTheLockIsFree(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Log("no /bin/sh here: hooks are tried on systems that have one")
		return
	}
	w := newWorld(t)
	w.publish(signatures(0, 100))
	out := filepath.Join(t.TempDir(), "out")
	hooks := func(c *updater.Config) {
		c.Hooks = []updater.Hook{
			{Argv: []string{"/bin/sh", "-c", `echo "$AVDB_RESULT $AVDB_FROM $AVDB_TO $AVDB_VARIANT" >> "$0"`, out}},
			{Argv: []string{"/bin/sh", "-c", "exit 3"}},
			{Argv: []string{"/bin/sh", "-c", "sleep 60"}},
		}
		c.Limits.Hook = 3 * time.Second // the first hook must come to its end on a busy machine
		c.Step = func(name string) {
			if name == "hooks" {
				l, err := w.store.Lock()
				if err != nil {
					t.Errorf("the lock is held while hooks run: %v", err)
					return
				}
				l.Unlock()
			}
		}
	}
	r, err := w.update(updater.Options{}, hooks)
	must(t, err)
	if b, _ := os.ReadFile(out); string(b) != "updated 0 1 full\n" {
		t.Errorf("the hook saw %q", b)
	}
	if n := len(slices.DeleteFunc(slices.Clone(r.Notes), func(s string) bool { return !strings.HasPrefix(s, "hook_failed: /bin/sh: ") })); n != 2 {
		t.Errorf("notes %q, want two failed hooks", r.Notes)
	}
	if _, err := w.update(updater.Options{}, hooks); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(out); strings.Count(string(b), "\n") != 1 {
		t.Error("hooks run though nothing changed")
	}
}

func TestReportJSONHasListsAndTheFieldsOfTheContract(t *testing.T) {
	b, err := json.Marshal(updater.Report{Result: updater.ResultCurrent})
	must(t, err)
	var m map[string]any
	must(t, json.Unmarshal(b, &m))
	for _, k := range []string{"result", "from", "to", "variant", "pending_variant", "source", "steps", "bytes", "requests", "seconds", "notes", "next_not_before"} {
		if _, ok := m[k]; !ok {
			t.Errorf("no field %s in %s", k, b)
		}
	}
	for _, k := range []string{"steps", "notes"} {
		if _, ok := m[k].([]any); !ok {
			t.Errorf("%s is no list in %s", k, b)
		}
	}
}

func TestCancelledUpdateIsNoKindOfFailure(t *testing.T) {
	w := newWorld(t)
	w.publish(signatures(0, 100))
	ctx, cancel := context.WithCancel(t.Context())
	w.hostile(func(http.ResponseWriter, *http.Request) bool { cancel(); return false })
	_, err := w.updater().Update(ctx, updater.Options{})
	if !errors.Is(err, context.Canceled) || isOnly(err, updater.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}
