package signing

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"example.org/avdb/dbformat"
)

// A stranger has a key that nobody trusts and can write DIR/pending, as a thief on the publishing host can.
type stranger struct {
	t   *testing.T
	r   *Repository
	s   *set
	key ed25519.PrivateKey
}

func newStranger(t *testing.T, r *Repository) *stranger {
	t.Helper()
	s, err := r.load()
	if err != nil {
		t.Fatal(err)
	}
	key, err := newKey(&stream{seed: 99})
	if err != nil {
		t.Fatal(err)
	}
	return &stranger{t, r, s, key}
}

func (x *stranger) id() string { return keyID(publicHex(x.key)) }

// copyOf is the public document of a role at its next version, to be changed.
func (x *stranger) copyOf(role string) *document {
	d := *x.s.doc(role)
	d.version, d.expires = d.version+1, day0.Add(Life(role))
	d.keys, d.roles, d.targets, d.approved = maps.Clone(d.keys), maps.Clone(d.roles), maps.Clone(d.targets), slices.Clone(d.approved)
	return &d
}

// leave makes the documents what waits for signatures, signed by the stranger alone.
func (x *stranger) leave(kind ChangeKind, what string, roles []string, docs ...*document) {
	x.t.Helper()
	p := newPending(kind, what, dbformat.At(day0), roles)
	for _, d := range docs {
		raw, err := encode(d, []ed25519.PrivateKey{x.key})
		if err == nil {
			err = p.put(d.role, raw)
		}
		if err != nil {
			x.t.Fatal(err)
		}
	}
	if err := x.r.savePending(p); err != nil {
		x.t.Fatal(err)
	}
}

// Offline keys that are asked for one change sign that change, whatever waits under its name.
func TestOfflineKeysSignWhatWasAsked(t *testing.T) {
	t.Parallel()
	const what = "approval of release 7"
	all := []string{RoleTargets, RoleSnapshot, RoleTimestamp}
	for name, spoil := range map[string]func(x *stranger){
		"a root of the stranger's": func(x *stranger) {
			root := x.copyOf(RoleRoot)
			root.keys[x.id()] = publicHex(x.key)
			root.roles[RoleRoot] = authority{keyids: []string{x.id()}, threshold: 1}
			x.leave(ChangeKeys, what, []string{RoleRoot}, root)
		},
		"database given away": func(x *stranger) {
			targets := x.copyOf(RoleTargets)
			targets.approved = []uint64{7}
			targets.keys[x.id()] = publicHex(x.key)
			targets.roles[RoleDatabase] = authority{keyids: []string{x.id()}, threshold: 1, paths: targets.roles[RoleDatabase].paths}
			x.leave(ChangeKeys, what, all, targets)
		},
		"another release": func(x *stranger) {
			targets := x.copyOf(RoleTargets)
			targets.approved = []uint64{7, 8}
			x.leave(ChangeKeys, what, all, targets)
		},
		"a short life": func(x *stranger) {
			targets := x.copyOf(RoleTargets)
			targets.approved, targets.expires = []uint64{7}, day0.Add(day)
			x.leave(ChangeKeys, what, all, targets)
		},
		"a root beside it": func(x *stranger) {
			targets, root := x.copyOf(RoleTargets), x.copyOf(RoleRoot)
			targets.approved = []uint64{7}
			x.leave(ChangeKeys, what, append([]string{RoleRoot}, all...), root, targets)
		},
		"a far number": func(x *stranger) {
			targets := x.copyOf(RoleTargets)
			targets.approved, targets.version = []uint64{8}, 1<<52
			x.leave(ChangeKeys, what, all, targets)
		},
		"a used-up number": func(x *stranger) {
			targets := x.copyOf(RoleTargets)
			targets.approved, targets.version = []uint64{8}, 1<<31
			x.leave(ChangeKeys, what, all, targets)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, RepositoryOptions{})
			publish(t, r, 1, day0)
			x := newStranger(t, r)
			spoil(x)
			if err := r.Approve(7, day0); err != nil {
				t.Fatal(err)
			}
			after := newStranger(t, r).s
			want := x.copyOf(RoleTargets)
			want.approved = []uint64{7}
			said := after.docs[RoleTargets]
			if !bytes.Equal(after.raw[RoleRoot], x.s.raw[RoleRoot]) || !slices.Equal(said.approved, want.approved) || said.version != want.version ||
				!said.expires.Equal(want.expires) || !maps.EqualFunc(said.roles, want.roles, sameAuthority) {
				t.Errorf("the offline keys signed %+v", said)
			}
		})
	}
}

func sameAuthority(a, b authority) bool {
	return slices.Equal(a.keyids, b.keyids) && a.threshold == b.threshold && slices.Equal(a.paths, b.paths)
}

// What other hosts have signed of the very same change is not lost when it is asked for again.
func TestSameChangeGoesOn(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 2})
	second := moveKeys(t, r, 1)
	_ = r.Approve(1, day0)
	if p := sign(t, r, second, false); len(p.Roles[0].Quorums[0].Signed) != 2 {
		t.Fatalf("%+v", p)
	}
	was := tree(t, filepath.Join(r.dir, "pending"))
	if err := r.Approve(1, day0.Add(day)); err != nil {
		t.Errorf("%v; waited: %v", err, was)
	}
	wantApproved(t, r, 1)
}

// A root for a later turn would be good one day without anyone having been asked: no key signs it.
func TestRootsAreSignedOneByOne(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	x := newStranger(t, r)
	root := x.copyOf(RoleRoot)
	root.version++
	x.leave(ChangeKeys, "renewal of root", []string{RoleRoot}, root)
	before := tree(t, r.dir)
	if _, err := r.Sign(day0, nil); !errors.Is(err, ErrChanged) {
		t.Errorf("root 3 after root 1: %v", err)
	}
	if !maps.Equal(tree(t, r.dir), before) {
		t.Error("something was signed")
	}
}
