package publisher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"example.org/avdb/signing"
)

// newCosignedShop is a shop whose releases a second host has to sign; its keys are in the folder that is returned.
func newCosignedShop(t *testing.T) (s *shop, cosigner string) {
	t.Helper()
	s = &shop{t: t, dir: filepath.Join(t.TempDir(), "repo"), src: t.TempDir(), now: noon}
	if _, err := signing.CreateRepository(s.dir, signing.RepositoryOptions{Now: noon, Online: 2}); err != nil {
		t.Fatal(err)
	}
	cosigner = filepath.Join(t.TempDir(), "cosigner")
	if err := os.Rename(filepath.Join(s.dir, "keys", "cosign"), cosigner); err != nil {
		t.Fatal(err)
	}
	return s, cosigner
}

func unsigned(o *Options) { o.Unsigned = true }

// sign completes what waits, with the keys of both hosts.
func (s *shop) sign(keys string) *signing.Pending {
	s.t.Helper()
	repo, err := signing.OpenRepository(s.dir, keys)
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := repo.Sign(s.now)
	if err != nil || !p.Visible {
		s.t.Fatalf("%+v, %v", p, err)
	}
	return p
}

// Releases that wait for signatures are not visible; once they are, the next ones have deltas from them.
func TestUnsignedReleases(t *testing.T) {
	t.Parallel()
	s, cosigner := newCosignedShop(t)
	for i := range uint64(4) {
		s.put("a.hsb", lines(0, 300+int(i), "A"))
		r := s.publish(unsigned)
		if !r.Pending || r.Published || r.Version != i+1 || r.Previous != i {
			t.Fatalf("report %+v", r)
		}
		if n := len(r.Layers.Light.Deltas); n != int(i) {
			t.Errorf("release %d has %d light deltas", r.Version, n)
		}
		files, err := filepath.Glob(filepath.Join(s.dir, "public", "targets", "light", "*."+r.Layers.Light.Digest.String()+".bundle"))
		if err != nil || len(files) != 0 {
			t.Errorf("visible already: %q, %v", files, err)
		}
		// Preparing the same again loses no signature.
		if again := s.publish(unsigned); !again.Pending || again.Version != r.Version {
			t.Errorf("again: %+v", again)
		}
		s.sign(cosigner)
		if got := s.record().Stable; got.Version != i+1 || got.Light.Digest != r.Layers.Light.Digest {
			t.Errorf("release %+v is served", got)
		}
		if r = s.publish(unsigned); r.Published || r.Pending || r.Version != i+1 || len(r.Warnings) != 0 {
			t.Errorf("nothing new: %+v", r)
		}
		s.check()
	}
}

// Another content takes the place of a release that waits, under a number of its own; a run that fails leaves it.
func TestUnsignedIsSuperseded(t *testing.T) {
	t.Parallel()
	s, cosigner := newCosignedShop(t)
	s.put("a.hsb", lines(0, 300, "A"))
	s.publish(unsigned)
	s.sign(cosigner)
	s.put("a.hsb", lines(0, 301, "A"))
	s.publish(unsigned)
	if _, err := Publish(context.Background(), s.options(unsigned, func(o *Options) { o.Sources = []string{filepath.Join(s.src, "none.hsb")} })); err == nil {
		t.Error("no sources, no error")
	}
	s.put("a.hsb", lines(0, 302, "A"))
	r := s.publish(unsigned)
	if !r.Pending || r.Version != 3 || r.Previous != 1 {
		t.Errorf("report %+v", r)
	}
	if p := s.sign(cosigner); p.Release.Version != 3 {
		t.Errorf("signed %+v", p)
	}
	if got := s.record().Stable.Version; got != 3 {
		t.Errorf("release %d is served", got)
	}
	s.publish(unsigned) // nothing new; tidies up
	s.check()
}

// The publishing host alone cannot publish.
func TestCosignedShopNeedsUnsigned(t *testing.T) {
	t.Parallel()
	s, _ := newCosignedShop(t)
	s.put("a.hsb", lines(0, 300, "A"))
	if _, err := Publish(context.Background(), s.options()); !errors.Is(err, signing.ErrNoKey) {
		t.Errorf("error %v", err)
	}
}

// A run that is stopped before any of its changes leaves what was served, and the next one prepares the release again.
func TestUnsignedStoppedAnywhere(t *testing.T) {
	t.Parallel()
	for stop := 0; ; stop++ {
		s, cosigner := newCosignedShop(t)
		s.put("a.hsb", lines(0, 300, "A"))
		s.publish(unsigned)
		s.sign(cosigner)
		s.put("a.hsb", lines(0, 301, "A"))
		n := 0
		_, err := publish(context.Background(), s.options(unsigned), disk{hook: func(string, string) error {
			if n++; n > stop {
				return errKilled
			}
			return nil
		}})
		if got := s.record().Stable.Version; got != 1 {
			t.Fatalf("release %d is served", got)
		}
		s.publish(unsigned)
		s.sign(cosigner)
		s.publish(unsigned) // nothing new; tidies up
		s.check()
		if err == nil {
			return
		}
	}
}
