package mirror_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/avdb/mirror"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
	"example.org/avdb/updater"
)

func (w *world) live() string { return filepath.Join(filepath.Dir(w.dir), "live") }

func (w *world) verify(change ...func(*mirror.VerifyConfig)) (mirror.VerifyReport, error) {
	w.t.Helper()
	c := mirror.VerifyConfig{Dir: w.dir, Root: w.root(), Now: func() time.Time { return w.now }}
	for _, f := range change {
		f(&c)
	}
	r, err := mirror.Verify(w.t.Context(), c)
	if r.OK != (err == nil) {
		w.t.Errorf("the report says %t beside %v", r.OK, err)
	}
	if _, e := os.Stat(filepath.Join(w.dir, ".mirror/verify")); e == nil {
		w.t.Error("a verification leaves its temporary folder")
	}
	return r, err
}

func (w *world) mustVerify(change ...func(*mirror.VerifyConfig)) mirror.VerifyReport {
	w.t.Helper()
	r, err := w.verify(change...)
	if err != nil {
		w.t.Fatalf("verify: %v (%+v)", err, r)
	}
	return r
}

func (w *world) promote() (mirror.Report, error) {
	w.t.Helper()
	return mirror.Promote(w.t.Context(), mirror.PromoteConfig{Stage: w.dir, Live: w.live(), Now: func() time.Time { return w.now }, Disk: w.disk})
}

func (w *world) mustPromote() mirror.Report {
	w.t.Helper()
	r, err := w.promote()
	if err != nil {
		w.t.Fatalf("promote: %v (%+v)", err, r)
	}
	return r
}

// Live shows what was verified in the stage, nothing before and nothing else.
func TestPromoteShowsOnlyWhatWasVerified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(300)
	w.mustSync()
	refused := func(what string, shown uint64) {
		t.Helper()
		if _, err := w.promote(); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("%s: %v, want ErrUntrusted", what, err)
		}
		w.mustRead(w.live(), shown)
	}
	refused("before a verification", 0)
	r := w.mustVerify()
	if r.Version != 1 || strings.Join(r.Variants, " ") != "light full" || r.Targets < 3 || r.Counts["light"].Records == 0 {
		t.Errorf("verified: %+v", r)
	}
	if r := w.mustPromote(); r.Result != mirror.ResultUpdated || r.Version != 1 || r.From != 0 {
		t.Errorf("promoted: %+v", r)
	}
	w.mustRead(w.live(), 1)
	if r := w.mustPromote(); r.Result != mirror.ResultCurrent {
		t.Errorf("promoted again: %+v", r)
	}
	w.publish(400)
	w.mustSync()
	refused("after a sync", 1)
	w.mustVerify(func(c *mirror.VerifyConfig) { c.Live = w.live() })
	bundles, err := filepath.Glob(filepath.Join(w.dir, "targets/rest/*.bundle"))
	must(t, err)
	flip := func() {
		for _, name := range bundles {
			flipUnseen(t, name)
		}
	}
	flip()
	refused("a byte flipped after the verification", 1)
	flip()
	if r := w.mustPromote(); r.From != 1 || r.Version != 2 {
		t.Errorf("promoted: %+v", r)
	}
	w.mustRead(w.live(), 2)
	if r, err := w.endpoint(fileURL(w.live())).Update(updater.Options{}); err != nil || r.To != 2 {
		t.Errorf("a device that updates from live: %+v, %v", r, err)
	}
}

// flipUnseen flips a bit and leaves the times of the file as they are.
func flipUnseen(t *testing.T, name string) {
	t.Helper()
	s, err := os.Stat(name)
	must(t, err)
	b, err := os.ReadFile(name)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(name, b, 0o644))
	must(t, os.Chtimes(name, s.ModTime(), s.ModTime()))
}

// A promotion that is killed anywhere leaves the old release or the new one, and the next one completes it.
func TestKillBetweenAnyTwoStepsOfPromote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(100)
	w.mustSync()
	w.mustVerify()
	w.mustPromote()
	w.publish(130)
	w.mustSync()
	w.mustVerify()
	keep := filepath.Join(t.TempDir(), "live")
	must(t, os.CopyFS(keep, os.DirFS(w.live())))
	seen := map[uint64]int{}
	look := func(at int) {
		got, err := w.read(w.live())
		if err != nil || got != 1 && got != 2 {
			t.Fatalf("killed at change %d: a client sees release %d, %v", at, got, err)
		}
		seen[got]++
	}
	for at, all := 0, 1; at <= all; at++ {
		must(t, os.RemoveAll(w.live()))
		must(t, os.CopyFS(w.live(), os.DirFS(keep)))
		k := &killer{at: at, applies: at%2 == 0}
		w.disk = k
		_, err := w.promote()
		if w.disk = nil; (err == nil) != (at == 0) {
			t.Fatalf("change %d of %d: %v", at, all, err)
		}
		if at == 0 {
			all = k.n
		}
		look(at)
		w.mustPromote()
		w.mustRead(w.live(), 2)
	}
	if seen[1] < 3 || seen[2] < 3 {
		t.Errorf("clients saw %v: not both sides of the change", seen)
	}
}

// Whatever a client would refuse is reported, with the reason, and the next sync puts right what is damaged, also where no time shows it.
func TestVerifyReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(300)
	w.mustSync()
	old := filepath.Join(t.TempDir(), "old")
	must(t, os.CopyFS(old, os.DirFS(filepath.Join(w.dir, "metadata"))))
	before := files(t, w.dir)
	w.publish(400)
	w.mustSync()
	w.mustVerify()
	var bundle, delta string // of release 2; those of release 1 are there for slow clients
	for name := range files(t, w.dir) {
		if _, known := before[name]; known {
			continue
		}
		switch filepath.Ext(name) {
		case ".bundle":
			bundle = filepath.Join(w.dir, name)
		case ".delta":
			delta = filepath.Join(w.dir, name)
		}
	}
	for _, c := range []struct {
		what, reason string
		damage       func() error
	}{
		{"a flipped byte", "SHA-256", func() error { flipUnseen(t, bundle); return nil }},
		{"a flipped byte in a delta", "SHA-256", func() error { flipUnseen(t, delta); return nil }},
		{"a missing bundle", "cannot be read", func() error { return os.Remove(bundle) }},
		{"a missing timestamp", "cannot be read", func() error { return os.Remove(filepath.Join(w.dir, "metadata/timestamp.json")) }},
		{"an old release", "rollback", func() error {
			b, err := os.ReadFile(filepath.Join(old, "timestamp.json"))
			must(t, err)
			return os.WriteFile(filepath.Join(w.dir, "metadata/timestamp.json"), b, 0o644)
		}},
	} {
		must(t, c.damage())
		if _, err := w.verify(); !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, want ErrUntrusted and %q", c.what, err, c.reason)
		}
		if _, err := w.promote(); !errors.Is(err, signing.ErrUntrusted) {
			t.Errorf("%s: promoted: %v", c.what, err)
		}
		w.mustRead(w.live(), 0)
		w.mustSync()
		w.mustVerify()
	}
	w.now = w.now.Add(8 * 24 * time.Hour)
	if _, err := w.verify(); !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired timestamp: %v", err)
	}
	other := newWorld(t)
	if _, err := w.verify(func(c *mirror.VerifyConfig) { c.Root = other.root() }); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("the root of another repository: %v", err)
	}
}

// What differs much from the last verified set, or will expire within a day, passes only if somebody says so.
func TestVerifyGates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(10_000)
	w.mustSync()
	w.mustVerify()
	w.publish(12_000)
	w.mustSync()
	w.mustVerify()
	w.publish(17_000)
	w.mustSync()
	for range 2 { // a refusal is no new measure
		if _, err := w.verify(); !errors.Is(err, mirror.ErrRefused) || !strings.Contains(err.Error(), "--accept") {
			t.Errorf("half as much again: %v, want ErrRefused", err)
		}
	}
	if _, err := w.promote(); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("what a gate refused: %v", err)
	}
	w.mustVerify(func(c *mirror.VerifyConfig) { c.MaxChange = 60 })
	w.now = w.now.Add(6*24*time.Hour + time.Hour)
	if _, err := w.verify(); !errors.Is(err, mirror.ErrRefused) || !strings.Contains(err.Error(), "timestamp expires") {
		t.Errorf("near its expiry: %v, want ErrRefused", err)
	}
	w.mustVerify(func(c *mirror.VerifyConfig) { c.AcceptExpiring = true })
	w.mustPromote()
}

// What was verified days ago is not promoted near its expiry.
func TestPromoteLooksAtTheClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(100)
	w.mustSync()
	w.mustVerify()
	w.now = w.now.Add(6*24*time.Hour + time.Hour)
	if _, err := w.promote(); !errors.Is(err, mirror.ErrRefused) {
		t.Errorf("%v, want ErrRefused", err)
	}
	w.mustRead(w.live(), 0)
}

// Nothing may be found in a clean corpus, and everything that must be found is.
func TestVerifyCorpora(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	corpus := t.TempDir()
	var lines strings.Builder
	for _, name := range []string{"clean", "bad"} {
		content := []byte("the content of " + name)
		must(t, os.MkdirAll(filepath.Join(corpus, name), 0o700))
		must(t, os.WriteFile(filepath.Join(corpus, name, "file"), content, 0o600))
		if name == "bad" {
			fmt.Fprintf(&lines, "%x,Test.Bad\n", sha256.Sum256(content))
		}
	}
	must(t, os.WriteFile(filepath.Join(w.src, "a.hashes"), []byte(lines.String()), 0o600))
	_, err := publisher.Publish(t.Context(), publisher.Options{Dir: w.repo, Sources: []string{w.src}, Now: w.now})
	must(t, err)
	w.mustSync()
	clean, bad := []string{filepath.Join(corpus, "clean")}, []string{filepath.Join(corpus, "bad")}
	r := w.mustVerify(func(c *mirror.VerifyConfig) { c.CleanCorpus, c.Detect = clean, bad })
	if r.Clean != 1 || r.Detected != 1 {
		t.Errorf("%+v", r)
	}
	if _, err := w.verify(func(c *mirror.VerifyConfig) { c.CleanCorpus = bad }); !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(err.Error(), "Test.Bad") {
		t.Errorf("a finding in the clean corpus: %v", err)
	}
	if _, err := w.verify(func(c *mirror.VerifyConfig) { c.Detect = clean }); !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(err.Error(), "must be found") {
		t.Errorf("a file that is not found: %v", err)
	}
	if _, err := w.verify(func(c *mirror.VerifyConfig) { c.Detect = []string{filepath.Join(corpus, "none")} }); err == nil {
		t.Error("a corpus that is not there passed")
	}
}
