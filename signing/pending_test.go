package signing

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	if _, err := r.Sign(day0); !errors.Is(err, ErrChanged) {
		t.Errorf("root 3 after root 1: %v", err)
	}
	if !maps.Equal(tree(t, r.dir), before) {
		t.Error("something was signed")
	}
}

// What the keys of a co-signing host are used for is what the change says it is: nothing else hides in it.
func TestSignRefusesWhatHides(t *testing.T) {
	t.Parallel()
	// other is a release record of version 1 that is not the published one.
	other := func(x *stranger) *document {
		held, err := openRepository(x.r.dir, x.r.keys, x.r.f)
		if err != nil {
			x.t.Fatal(err)
		}
		held.HoldBack()
		b := bytes.Replace(releaseBytes(x.t, 1), []byte(`"min_engine":1`), []byte(`"min_engine":2`), 1)
		target, err := held.AddTargetBytes(dbformat.ReleaseTarget, b)
		if err != nil {
			x.t.Fatal(err)
		}
		d := x.copyOf(RoleDatabase)
		d.targets[target.Path] = target
		return d
	}
	online := []string{RoleDatabase, RoleSnapshot, RoleTimestamp}
	for name, c := range map[string]struct {
		leave func(x *stranger)
		want  error
	}{
		"a release in a renewal":       {func(x *stranger) { x.leave(ChangeRenewal, "renewal of database", online, other(x)) }, ErrChanged},
		"another content of a release": {func(x *stranger) { x.leave(ChangeRelease, "release 1", online, other(x)) }, ErrChanged},
		"a root in a release": {func(x *stranger) {
			x.leave(ChangeRelease, "release 2", append([]string{RoleRoot}, online...), x.copyOf(RoleRoot), x.copyOf(RoleDatabase))
		}, ErrRepository},
		"keys in a renewal":  {func(x *stranger) { x.leave(ChangeRenewal, "renewal", []string{RoleTargets}, x.copyOf(RoleTargets)) }, ErrRepository},
		"lines in its name":  {func(x *stranger) { x.leave(ChangeRenewal, "renewal\nall is well", online, x.copyOf(RoleDatabase)) }, ErrRepository},
		"a name without end": {func(x *stranger) { x.leave(ChangeRenewal, strings.Repeat("x", 201), online, x.copyOf(RoleDatabase)) }, ErrRepository},
		"nothing else":       {func(x *stranger) { x.leave(ChangeRenewal, "renewal of database", online, x.copyOf(RoleDatabase)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, RepositoryOptions{})
			publish(t, r, 1, day0)
			c.leave(newStranger(t, r))
			before := tree(t, r.dir)
			_, err := r.Sign(day0)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if c.want != nil && !maps.Equal(tree(t, r.dir), before) {
				t.Error("something was signed")
			}
		})
	}
}

// All that offline keys would say anew is shown.
func TestPendingShowsAll(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	approveAll(t, r, 3)
	x := newStranger(t, r)
	root, targets := x.copyOf(RoleRoot), x.copyOf(RoleTargets)
	root.keys[x.id()] = publicHex(x.key)
	root.roles[RoleTimestamp] = authority{keyids: []string{x.id()}, threshold: 1}
	targets.approved = []uint64{4}
	targets.keys[x.id()] = publicHex(x.key)
	targets.roles["other"] = authority{keyids: []string{x.id()}, threshold: 1, paths: []string{"*"}}
	wider := targets.roles[RoleDatabase]
	wider.paths = append(slices.Clone(wider.paths), "dark/*")
	targets.roles[RoleDatabase] = wider
	targets.targets["tool"] = Target{Path: "tool", Length: 3}
	x.leave(ChangeKeys, "new keys of timestamp", append([]string{RoleRoot}, setRoles...), root, targets, x.copyOf(RoleDatabase), x.copyOf(RoleRestrictions))
	p, err := r.Pending(day0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"timestamp may be signed by the new key " + x.id(),
		"timestamp may not be signed any more by key " + x.s.root.roles[RoleTimestamp].keyids[0],
		"database may name dark/*",
		"other needs 1 signatures, until now 0",
		"other may be signed by the new key " + x.id(),
		"other may name *",
		"targets names tool (3 bytes, SHA-256 " + dbformat.Digest{}.String() + ")",
		"release 4 may exceed the guards",
		"release 3 may not exceed the guards any more",
	}
	if !slices.Equal(p.Changes, want) {
		t.Errorf("shown:\n%s\nwant:\n%s", strings.Join(p.Changes, "\n"), strings.Join(want, "\n"))
	}
}

// A timestamp that somebody else prepared for a time that is not now is made anew, not signed.
func TestTimestampOfAnotherTime(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-2 * day, 2 * day} {
		r := newRepository(t, RepositoryOptions{})
		publish(t, r, 1, day0)
		x := newStranger(t, r)
		snapshot, timestamp := x.copyOf(RoleSnapshot), x.copyOf(RoleTimestamp)
		raw, err := encode(snapshot, []ed25519.PrivateKey{ringOf(t, r)[x.s.root.roles[RoleSnapshot].keyids[0]]})
		if err != nil {
			t.Fatal(err)
		}
		timestamp.signedAt = day0.Add(off)
		timestamp.meta = map[string]metaFile{RoleSnapshot: {snapshot.version, int64(len(raw)), sha256.Sum256(raw)}}
		x.leave(ChangeRenewal, "renewal", []string{RoleSnapshot, RoleTimestamp}, timestamp)
		s, err := r.load()
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.readPending(s)
		if err == nil {
			err = p.put(RoleSnapshot, raw)
		}
		if err == nil {
			err = r.savePending(p)
		}
		if err != nil {
			t.Fatal(err)
		}
		if p := sign(t, r, "", true); p == nil {
			t.Fatal("nothing was signed")
		}
		if s, err = r.load(); err != nil || !s.docs[RoleTimestamp].signedAt.Equal(day0) {
			t.Errorf("signed at %s, %v", s.docs[RoleTimestamp].signedAt, err)
		}
	}
}

func ringOf(t *testing.T, r *Repository) keyring {
	t.Helper()
	ring, err := r.allKeys()
	if err != nil {
		t.Fatal(err)
	}
	return ring
}
