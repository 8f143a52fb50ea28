package signing

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

func TestPublishAndRefresh(t *testing.T) {
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	src := serve(r)
	v := refresh(t, tr, src, day0.Add(day))
	if want := "2.root.json timestamp.json 2.snapshot.json 1.targets.json 2.database.json 2.restrictions.json"; strings.Join(src.log, " ") != want {
		t.Errorf("fetched %s, want %s", src.log, want)
	}
	rel, err := v.Release(targetBytes(t, r, v, dbformat.ReleaseTarget))
	if err != nil {
		t.Fatal(err)
	}
	if got := rel.Record(); got.Stable.Version != 1 {
		t.Errorf("release %d, want 1", got.Stable.Version)
	}
	res, err := v.Restrictions(targetBytes(t, r, v, dbformat.RestrictionsTarget))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []Accepted{rel, res} {
		if err := tr.Accept(a); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := tr.Stored()
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(stored.Versions(), v.Versions()) || !slices.Equal(stored.Targets(RoleDatabase), v.Targets(RoleDatabase)) {
		t.Errorf("stored %v, refreshed %v", stored.Versions(), v.Versions())
	}
	if !v.SignedAt().Equal(day0) || !v.Expires().Equal(day0.Add(LifeTimestamp)) || v.ExpiresFirst() != RoleTimestamp {
		t.Errorf("signed at %v, expires %v (%s)", v.SignedAt(), v.Expires(), v.ExpiresFirst())
	}

	// Without news: one root that is not there and the timestamp.
	src.log = nil
	refresh(t, tr, src, day0.Add(day))
	if want := "2.root.json timestamp.json"; strings.Join(src.log, " ") != want {
		t.Errorf("fetched %s, want %s", src.log, want)
	}

	// The next release fetches what changed.
	publish(t, r, 2, day0.Add(2*day))
	src.log = nil
	v = refresh(t, tr, src, day0.Add(2*day))
	if want := "2.root.json timestamp.json 3.snapshot.json 3.database.json 3.restrictions.json"; strings.Join(src.log, " ") != want {
		t.Errorf("fetched %s, want %s", src.log, want)
	}
	if rel, err := v.Release(targetBytes(t, r, v, dbformat.ReleaseTarget)); err != nil || rel.Record().Stable.Version != 2 {
		t.Errorf("release %v, %v", rel.Record().Stable.Version, err)
	}
}

func TestNetworkFailureIsNotUntrusted(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	down := errors.New("connection reset")
	for _, name := range []string{"2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.database.json", "1.restrictions.json"} {
		src := serve(r)
		src.edit = func(n string, b []byte) ([]byte, error) {
			if n == name {
				return nil, down
			}
			return nil, nil
		}
		_, err := newTrust(t, r).Refresh(t.Context(), src, RefreshOptions{Now: day0})
		if !errors.Is(err, down) || errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %v; want the fetcher's error and no distrust", name, err)
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

// Guard: only a missing root has a meaning of its own. Any other missing file is the source's failure.
func TestMissingFileIsNotUntrusted(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	for _, name := range []string{"timestamp.json", "1.snapshot.json", "1.targets.json", "1.database.json", "1.restrictions.json"} {
		src := serveDir(t, r)
		delete(src.files, name)
		_, err := newTrust(t, r).Refresh(t.Context(), src, RefreshOptions{Now: day0})
		if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %v; want ErrNotFound and no distrust", name, err)
		}
	}
}

// A fetcher that gives way says nothing about trust either.
func TestFetcherPanics(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	src := serve(r)
	src.edit = func(string, []byte) ([]byte, error) { panic("a bug") }
	_, err := newTrust(t, r).Refresh(t.Context(), src, RefreshOptions{Now: day0})
	if err == nil || errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), "a bug") {
		t.Errorf("%v; want an error that tells of the bug", err)
	}
}

// Guard: recover. The verifier may give way to shapes that nobody has thought of; then nothing is believed.
func TestVerifierPanics(t *testing.T) {
	role := RoleSnapshot
	err := guarded(&role, func() error { panic("index out of range") })
	wantUntrusted(t, nil, err, RoleSnapshot, ReasonInternal)
	if err := guarded(&role, func() error { return nil }); err != nil {
		t.Error(err)
	}
}
