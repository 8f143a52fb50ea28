package signing

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func approveAll(t *testing.T, r *Repository, versions ...uint64) {
	t.Helper()
	for _, v := range versions {
		if err := r.Approve(v, day0); err != nil {
			t.Fatal(err)
		}
	}
}

func wantApproved(t *testing.T, r *Repository, want ...uint64) {
	t.Helper()
	if got, err := r.Approved(); err != nil || !slices.Equal(got, want) {
		t.Fatalf("approved %d, %v; want %d", got, err, want)
	}
}

// What the offline keys approve reaches endpoints, for these versions and no other, and outlives commits, renewals and rotations.
func TestApprove(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
	wantApproved(t, r)
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	approveAll(t, r, 7, 2)
	wantApproved(t, r, 2, 7)
	publish(t, r, 2, day0)
	for _, role := range []string{RoleTargets, RoleDatabase, RoleRoot} {
		if err := r.Rotate(role, day0, &stream{seed: 6}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.RenewOffline(day0.Add(350 * day)); err != nil {
		t.Fatal(err)
	}
	v := refresh(t, tr, serve(r), day0.Add(350*day))
	for version, want := range map[uint64]bool{0: false, 1: false, 2: true, 3: false, 6: false, 7: true, 8: false} {
		if v.Approved(version) != want {
			t.Errorf("release %d approved: %t", version, !want)
		}
	}
	stored, err := tr.Stored()
	if err != nil || !stored.Approved(7) {
		t.Errorf("stored: %v", err)
	}
}

// Approving again signs nothing and needs no key.
func TestApproveAgain(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	approveAll(t, r, 1)
	if err := os.RemoveAll(r.keys); err != nil {
		t.Fatal(err)
	}
	before := tree(t, r.PublicDir())
	approveAll(t, r, 1)
	if after := tree(t, r.PublicDir()); len(after) != len(before) {
		t.Errorf("%d files, were %d", len(after), len(before))
	}
	if err := r.Approve(2, day0); !errors.Is(err, ErrNoKey) {
		t.Errorf("without keys: %v", err)
	}
	wantApproved(t, r, 1)
}

// The published release may be approved, for endpoints that come from far behind; what nobody will be offered may not.
func TestApproveRefusals(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 5, day0)
	for _, version := range []uint64{0, 1, 4, 6 + 1<<32, 1 << 60} {
		if err := r.Approve(version, day0); !errors.Is(err, ErrTarget) {
			t.Errorf("release %d: %v", version, err)
		}
	}
	wantApproved(t, r)
	approveAll(t, r, 5, 6, 5+1<<32)
	wantApproved(t, r, 5, 6, 5+1<<32)
}

func TestApproveKeepsTheNewest(t *testing.T) {
	t.Parallel()
	var list []uint64
	for v := range uint64(100) {
		list = approve(list, 2*v+2)
	}
	if len(list) != MaxApproved || list[0] != 74 || list[63] != 200 {
		t.Errorf("%d", list)
	}
	if again := approve(list, 100); !slices.Equal(again, list) {
		t.Errorf("%d", again)
	}
}

// Approving needs the threshold of targets keys: with fewer, nothing becomes visible; without any, nothing is even prepared.
func TestApproveNeedsOfflineKeys(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 2})
	keys, err := filepath.Glob(filepath.Join(r.keys, "offline", "targets-*.pem"))
	if err != nil || len(keys) != 2 {
		t.Fatalf("%q, %v", keys, err)
	}
	before := tree(t, r.PublicDir())
	for i, want := range []error{ErrPending, ErrNoKey} {
		if err := os.Remove(keys[i]); err != nil {
			t.Fatal(err)
		}
		if err := r.Approve(uint64(i+1), day0); !errors.Is(err, want) {
			t.Errorf("%d of 2 keys: %v", 1-i, err)
		}
	}
	if after := tree(t, r.PublicDir()); !maps.Equal(after, before) {
		t.Error("something became visible")
	}
	if p, err := r.Pending(day0); err != nil || p == nil || p.What != "approval of release 1" {
		t.Errorf("pending: %+v, %v", p, err)
	}
}

// A thief of the database key cannot approve: the field counts in targets only.
func TestApprovedByDatabaseCountsNothing(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	f := newForge(t, r)
	f.bump(1, RoleDatabase, RoleSnapshot, RoleTimestamp)
	for _, role := range []string{RoleDatabase, RoleSnapshot, RoleTimestamp} {
		f.signed[role]["approved"] = arr{json.Number("2")}
	}
	if refresh(t, newTrust(t, r), f.source(), day0).Approved(2) {
		t.Error("release 2 is approved")
	}
	f.bump(1, RoleTargets)
	f.signed[RoleTargets]["approved"] = arr{json.Number("2")}
	if !refresh(t, newTrust(t, r), f.source(), day0).Approved(2) {
		t.Error("release 2 is not approved: the test cannot fail")
	}
}

func TestMalformedApproved(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	many := arr{}
	for i := range MaxApproved + 1 {
		many = append(many, i+1)
	}
	for _, v := range []any{nil, "x", 7, true, obj{}, arr{nil}, arr{"7"}, arr{0}, arr{-1}, arr{1.5}, arr{7, 7}, arr{9, 7}, arr{arr{7}},
		arr{json.Number("9007199254740992")}, many} {
		f := newForge(t, r)
		f.signed[RoleTargets]["approved"] = v
		refuse(t, newTrust(t, r), f.source(), day0, RoleTargets, ReasonMalformed)
	}
	for _, v := range []any{arr{}, arr{1}, arr{1, json.Number("9007199254740991")}, many[:MaxApproved]} {
		f := newForge(t, r)
		f.signed[RoleTargets]["approved"] = v
		refresh(t, newTrust(t, r), f.source(), day0)
	}
	b, err := os.ReadFile(filepath.Join(r.PublicDir(), "metadata", "1.targets.json"))
	if err != nil || strings.Contains(string(b), "approved") {
		t.Errorf("a repository without approvals writes the field: %v", err)
	}
}
