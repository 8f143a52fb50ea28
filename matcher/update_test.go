package matcher_test

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// endpoint is a state that trusts p and updates from it.
func endpoint(t *testing.T, p *fixtures.Publisher) (*store.Store, *updater.Updater) {
	t.Helper()
	s, err := store.Create(filepath.Join(t.TempDir(), "state"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := signing.InitTrust(s.TrustDir(), p.Root(), false); err != nil {
		t.Fatal(err)
	}
	u, err := updater.New(updater.Config{Store: s, Sources: updater.Sources(p.FileURL())})
	if err != nil {
		t.Fatal(err)
	}
	return s, u
}

func update(t *testing.T, u *updater.Updater, v dbformat.Variant) {
	t.Helper()
	if _, err := u.Update(t.Context(), updater.Options{Variant: string(v)}); err != nil {
		t.Fatal(err)
	}
}

// One matcher lives through releases, variants and a rollback of a real endpoint. Objects that every release knows are
// found at every moment, whichever generation answers, and a benign one never is.
func TestMatcherThroughRealUpdates(t *testing.T) {
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	dir := t.TempDir()
	known, good, benign := filepath.Join(dir, "known"), filepath.Join(dir, "good"), filepath.Join(dir, "benign")
	for _, path := range []string{known, good, benign} {
		if err := os.WriteFile(path, []byte(filepath.Base(path)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(n int) {
		t.Helper()
		lines := []string{fmt.Sprintf("%x,Test.Known", sha256.Sum256([]byte("known"))), fmt.Sprintf("%x,Test.Good", md5.Sum([]byte("good")))}
		for i := range 200 {
			lines = append(lines, fmt.Sprintf("%x,Test.Other.%d", sha256.Sum256(fmt.Append(nil, i*n)), n))
		}
		slices.Sort(lines)
		p.Publish(map[string]string{
			"a.hashes": strings.Join(slices.Compact(lines), "\n") + "\n",
			"b.fp":     fmt.Sprintf("%x:4:Test.Allowed\n", md5.Sum([]byte("good"))),
		})
	}
	publish(1)
	s, u := endpoint(t, p)
	update(t, u, dbformat.VariantFull)
	m, err := matcher.Open(s, matcher.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()

	stop := make(chan struct{})
	var wg sync.WaitGroup
	scans := 0
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			scans++
			var got []matcher.Result
			if err := m.Scan(t.Context(), slices.Values([]string{dir}), matcher.ScanOptions{}, func(r matcher.Result) { got = append(got, r) }); err != nil {
				t.Error(err)
			}
			ok := len(got) == 3 && got[0].Verdict == matcher.Clean && got[1].Verdict == matcher.Allowed && got[1].Name == "Test.Allowed" &&
				(got[2].Verdict == matcher.Malicious && got[2].Name == "Test.Known" || got[2].Verdict == matcher.Suspected && strings.HasPrefix(got[2].Name, "Prefix.SHA256."))
			for _, r := range got {
				ok = ok && r.Err == nil
			}
			if !ok {
				t.Errorf("scan %d: %+v", scans, got)
				return
			}
		}
	})
	for n := 2; n < 8; n++ {
		publish(n)
		v := dbformat.VariantFull
		if n%3 == 0 {
			v = dbformat.VariantLight
		}
		update(t, u, v)
		if err := m.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
		if g := m.Generation(); g.Version != uint64(n) || g.Variant() != v {
			t.Errorf("release %d as %s is in use, want %d as %s", g.Version, g.Variant(), n, v)
		}
	}
	lock, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Rollback(false)
	lock.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Refresh(t.Context()); err != nil || m.Generation().Version != c.Version {
		t.Errorf("after the rollback to %d: %d, %v", c.Version, m.Generation().Version, err)
	}
	close(stop)
	wg.Wait()
	if scans < 7 {
		t.Errorf("%d scans during 7 swaps: too few to mean anything", scans)
	}
}
