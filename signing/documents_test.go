package signing

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The documents of a state are the files that the repository published, each behind those that it names.
func TestDocumentsAreWhatWasPublished(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	v := refresh(t, tr, serve(r), day0)
	var names []string
	for _, d := range v.Documents() {
		names = append(names, d.Name)
		b, err := os.ReadFile(filepath.Join(r.PublicDir(), "metadata", d.Name))
		if err != nil || string(b) != string(d.Bytes) || d.Version != v.Version(d.Role) {
			t.Errorf("%s, version %d, is not what was published (%v)", d.Name, d.Version, err)
		}
	}
	if want := "2.restrictions.json 2.database.json 1.targets.json 2.snapshot.json timestamp.json"; strings.Join(names, " ") != want {
		t.Errorf("the documents are %s, want %s", names, want)
	}
	for role, life := range map[string]time.Duration{RoleTimestamp: LifeTimestamp, RoleRoot: LifeRoot, RoleDatabase: Life(RoleDatabase)} {
		if got := v.ExpiresOf(role); !got.Equal(day0.Add(life)) {
			t.Errorf("%s expires at %s, want %s", role, got, day0.Add(life))
		}
	}
	if !v.ExpiresOf("none").IsZero() {
		t.Error("an unknown role expires")
	}
	v.Documents()[0].Bytes[0] ^= 1
	if v.Documents()[0].Bytes[0] != '{' {
		t.Error("what a caller does to the bytes changes the state")
	}
}

// The chain of roots is given as it was verified, and a root in it that is damaged or gone is not passed over.
func TestRootsAreTheChain(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	before := refresh(t, tr, serve(r), day0)
	for i, role := range []string{RoleTimestamp, RoleSnapshot} {
		if err := r.Rotate(role, day0, &stream{seed: uint64(20 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	rotated := refresh(t, tr, serve(r), day0)
	publish(t, r, 2, day0)
	later := refresh(t, tr, serve(r), day0)
	roots, err := tr.Roots()
	if err != nil || len(roots) != 3 {
		t.Fatalf("%d roots, %v; want 3", len(roots), err)
	}
	for i, d := range roots {
		b, err := os.ReadFile(filepath.Join(r.PublicDir(), "metadata", d.Name))
		if err != nil || d.Version != uint64(i+1) || !slices.Equal(b, d.Bytes) {
			t.Errorf("root %d is %s (%v)", i+1, d.Name, err)
		}
	}
	for _, c := range []struct {
		what string
		v    *Verified
		want []bool // under root 1, 2, 3
	}{
		{"the state before", before, []bool{true, false, false}},
		{"the state of the last rotation", rotated, []bool{false, true, true}},
		{"the state after", later, []bool{false, false, true}},
	} {
		for i, d := range roots {
			if got := c.v.HoldsUnder(d.Bytes); got != c.want[i] {
				t.Errorf("%s holds under root %d: %t, want %t", c.what, i+1, got, c.want[i])
			}
		}
	}
	name := tr.rootName(2)
	for what, damage := range map[string]func() error{
		"another root": func() error { return os.WriteFile(name, roots[2].Bytes, 0o600) },
		"gone":         func() error { return os.Remove(name) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Roots(); !errors.Is(err, ErrStorage) || !strings.Contains(err.Error(), "2.root.json") {
			t.Errorf("root 2 is %s: %v", what, err)
		}
	}
}
