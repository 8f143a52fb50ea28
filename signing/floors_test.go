package signing

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"example.org/avdb/dbformat"
)

// Whoever brings old targets back, under which the keys of today vouch for nothing, is refused and takes no floor away, also where the
// floors are saved because a new root comes with them.
func TestRefusedSetTakesNoFloorAway(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	thief := newForge(t, r)
	if err := r.Rotate(RoleDatabase, day0, &stream{seed: 5}); err != nil {
		t.Fatal(err)
	}
	publish(t, r, 2, day0)
	tr := newTrust(t, r)
	v := refresh(t, tr, serve(r), day0)
	rel, err := v.Release(targetBytes(t, r, v, dbformat.ReleaseTarget))
	if err == nil {
		err = tr.Accept(rel)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := storedFloors(t, tr)
	if err := r.Rotate(RoleRoot, day0, &stream{seed: 6}); err != nil {
		t.Fatal(err)
	}
	thief.bump(10, RoleTimestamp, RoleSnapshot)
	refuse(t, tr, withRoots(t, r, thief.source()), day0, RoleTargets, ReasonRollback)
	after := storedFloors(t, tr)
	if after.Floors[RoleRoot].Value != 2 {
		t.Errorf("root %d is kept, want 2", after.Floors[RoleRoot].Value)
	}
	delete(before.Floors, RoleRoot)
	delete(after.Floors, RoleRoot)
	if !maps.EqualFunc(before.Floors, after.Floors, func(a, b floor) bool { return a.Value == b.Value }) {
		t.Errorf("floors %v, want %v", after.Floors, before.Floors)
	}
}

func storedFloors(t *testing.T, tr *Trust) *floors {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(tr.dir, floorsFile))
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseFloors(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
