package signing

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// Each test is an attack; the comment names the guard that it holds. Unchanged after each refusal: what is stored.

// unchanged runs an attack and demands that the trust folder believes what it believed.
func unchanged(t *testing.T, tr *Trust, attack func()) {
	t.Helper()
	before := tree(t, tr.dir)
	attack()
	after := tree(t, tr.dir)
	for name, b := range after {
		if before[name] != b {
			t.Errorf("%s changed", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files, want %d", len(after), len(before))
	}
}

// Guard: the root that was installed, in updater.New.
func TestWrongRoot(t *testing.T) {
	ours := newRepository(t, RepositoryOptions{})
	theirs := newRepository(t, RepositoryOptions{Rand: &stream{seed: 2}})
	publish(t, ours, 1, day0)
	publish(t, theirs, 1, day0)
	tr := newTrust(t, ours)
	unchanged(t, tr, func() { refuse(t, tr, serve(theirs), day0, RoleTimestamp, ReasonSignature) })
	refresh(t, tr, serve(ours), day0)
	unchanged(t, tr, func() { refuse(t, tr, serve(theirs), day0, RoleTimestamp, ReasonSignature) })

	// A second root of the stranger's, under our numbers, does not continue our chain.
	if err := theirs.Rotate(RoleRoot, day0, &stream{seed: 3}); err != nil {
		t.Fatal(err)
	}
	unchanged(t, tr, func() { refuse(t, tr, serve(theirs), day0, RoleRoot, ReasonSignature) })
}

// Guard: InitTrust verifies the root by its own keys, and keeps what is there.
func TestInitTrustRefusesAnotherRoot(t *testing.T) {
	ours := newRepository(t, RepositoryOptions{Threshold: 2})
	theirs := newRepository(t, RepositoryOptions{Rand: &stream{seed: 2}})
	publish(t, ours, 1, day0)
	tr := newTrust(t, ours)
	refresh(t, tr, serve(ours), day0)
	unchanged(t, tr, func() {
		if err := InitTrust(tr.dir, firstRoot(t, ours), false); err != nil {
			t.Errorf("the same root again: %v", err)
		}
		if err := InitTrust(tr.dir, firstRoot(t, theirs), false); !errors.Is(err, ErrOtherRoot) {
			t.Errorf("another root: %v, want ErrOtherRoot", err)
		}
		f := newForge(t, ours)
		f.keys[RoleRoot] = f.keys[RoleRoot][:1]
		err := InitTrust(tr.dir, f.files()["1.root.json"], true)
		wantUntrusted(t, nil, err, RoleRoot, ReasonSignature)
	})
	if err := InitTrust(tr.dir, firstRoot(t, theirs), true); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Stored(); !errors.Is(err, ErrNothingStored) {
		t.Errorf("after replacing the root: %v, want ErrNothingStored", err)
	}
	publish(t, theirs, 1, day0)
	refresh(t, tr, serve(theirs), day0)
}

// Guards: signatures, and the hashes that timestamp and snapshot list.
func TestFlippedByte(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	if err := r.Rotate(RoleRoot, day0, &stream{seed: 9}); err != nil {
		t.Fatal(err)
	}
	good := serveDir(t, r)
	tr := newTrust(t, r)
	for _, name := range []string{"2.root.json", "timestamp.json", "2.snapshot.json", "1.targets.json", "2.database.json", "2.restrictions.json"} {
		flips := 5
		if thorough {
			flips = 50
		}
		step := 1 + len(good.files[name])/flips
		for i := 0; i < len(good.files[name]); i += step {
			for _, bit := range []byte{1, 0x20} {
				bad := good.clone()
				bad.files[name] = bytes.Clone(bad.files[name])
				bad.files[name][i] ^= bit
				_, err := tr.Refresh(t.Context(), bad, RefreshOptions{Now: day0})
				if !errors.Is(err, ErrUntrusted) {
					t.Fatalf("%s, byte %d ^ %#x: %v", name, i, bit, err)
				}
				if _, err := tr.Stored(); !errors.Is(err, ErrNothingStored) {
					t.Fatalf("%s, byte %d: stored, %v", name, i, err)
				}
			}
		}
	}
	refresh(t, tr, good, day0)
}

// Guard: the threshold of the role, for root, targets and delegated roles.
func TestThresholdNotMet(t *testing.T) {
	r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
	publish(t, r, 1, day0)
	t.Run("root", func(t *testing.T) {
		f := newForge(t, r)
		f.bump(1, RoleRoot)
		f.keys[RoleRoot] = f.keys[RoleRoot][:1]
		refuse(t, newTrust(t, r), f.source(), day0, RoleRoot, ReasonSignature)
	})
	t.Run("targets", func(t *testing.T) {
		f := newForge(t, r)
		f.keys[RoleTargets] = f.keys[RoleTargets][2:]
		refuse(t, newTrust(t, r), f.source(), day0, RoleTargets, ReasonSignature)
	})
	for _, role := range []string{RoleTimestamp, RoleSnapshot, RoleDatabase, RoleRestrictions} {
		t.Run(role+" by a stranger", func(t *testing.T) {
			f := newForge(t, r)
			id, _ := f.newKey(77)
			f.keys[role] = []string{id}
			refuse(t, newTrust(t, r), f.source(), day0, role, ReasonSignature)
		})
	}
}

// Guard: a key counts for its own role only.
func TestKeyOfAnotherRole(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	roles := append([]string{RoleRoot}, setRoles...)
	for _, role := range roles {
		for _, thief := range roles {
			if thief == role {
				continue
			}
			f := newForge(t, r)
			f.keys[role] = f.keys[thief]
			if role == RoleRoot {
				f.bump(1, RoleRoot)
			}
			refuse(t, newTrust(t, r), f.source(), day0, role, ReasonSignature)
		}
	}
}

// Guard: the floors. The attacker replays what was true once, with every signature good and nothing expired.
func TestRollback(t *testing.T) {
	t.Parallel()
	for _, role := range []string{RoleTimestamp, RoleSnapshot, RoleTargets, RoleDatabase, RoleRestrictions} {
		t.Run(role, func(t *testing.T) {
			r := newRepository(t, RepositoryOptions{})
			publish(t, r, 1, day0)
			tr := newTrust(t, r)
			ahead := newForge(t, r)
			ahead.bump(5, RoleTimestamp, RoleSnapshot, RoleTargets, RoleDatabase, RoleRestrictions)
			refresh(t, tr, ahead.source(), day0)

			// All ahead but one role, which goes back by one; stolen snapshot and timestamp keys do that.
			back := newForge(t, r)
			back.bump(5, RoleTimestamp, RoleSnapshot, RoleTargets, RoleDatabase, RoleRestrictions)
			back.bump(-1, role)
			var e *UntrustedError
			unchanged(t, tr, func() { e = refuse(t, tr, back.source(), day0, role, ReasonRollback) })
			if e.Version+1 != e.Floor || e.Floor < 6 {
				t.Errorf("version %d, floor %d", e.Version, e.Floor)
			}

			// The cached metadata is lost: the floors alone refuse.
			if err := os.Remove(filepath.Join(tr.dir, verifiedFile)); err != nil {
				t.Fatal(err)
			}
			refuse(t, tr, back.source(), day0, role, ReasonRollback)

			// The floors are lost too: the roots alone cannot know. Then put back with the metadata, the metadata alone refuses.
			refresh(t, tr, ahead.source(), day0)
			if err := os.Remove(filepath.Join(tr.dir, floorsFile)); err != nil {
				t.Fatal(err)
			}
			refuse(t, tr, back.source(), day0, role, ReasonRollback)
			v := refresh(t, tr, ahead.source(), day0)
			if n := v.Notes(); len(n) != 1 || n[0].Code != NoteFloorsLost {
				t.Errorf("notes %v, want %s", n, NoteFloorsLost)
			}
		})
	}
}

// Guard: the root's floor, which no key change resets. The attacker deletes the newest stored root and replays an old mirror.
func TestRollbackOfRoot(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	old := serveDir(t, r)
	tr := newTrust(t, r)
	for i := range 3 {
		if err := r.Rotate(RoleRoot, day0, &stream{seed: uint64(10 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	refresh(t, tr, serve(r), day0)
	// With the newest root kept, an old mirror cannot even name an older one, and its set is as good as before.
	refresh(t, tr, old, day0)
	for _, v := range []uint64{4, 3, 2} {
		if err := os.Remove(tr.rootName(v)); err != nil {
			t.Fatal(err)
		}
	}
	e := refuse(t, tr, old, day0, RoleRoot, ReasonRollback)
	if e.Version != 1 || e.Floor != 4 {
		t.Errorf("root %d, floor %d; want 1, 4", e.Version, e.Floor)
	}
	// Told at once, whatever else is wrong with the mirror.
	delete(old.files, "timestamp.json")
	refuse(t, tr, old, day0, RoleRoot, ReasonRollback)
	refresh(t, tr, serve(r), day0)
}

// Guards: the floors of release and epoch, raised by Accept only.
func TestRollbackOfReleaseAndEpoch(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 7, day0)
	tr := newTrust(t, r)
	v7 := refresh(t, tr, serve(r), day0)
	publish(t, r, 6, day0) // higher role versions, lower release and epoch: a stolen database key
	v6 := refresh(t, tr, serve(r), day0)
	if _, err := v6.Release(targetBytes(t, r, v6, dbformat.ReleaseTarget)); err != nil {
		t.Fatalf("release 6 before 7 was accepted: %v", err)
	}
	rel, err := v7.Release(targetBytes(t, r, v7, dbformat.ReleaseTarget))
	if err != nil {
		t.Fatal(err)
	}
	set, err := v7.Restrictions(targetBytes(t, r, v7, dbformat.RestrictionsTarget))
	if err != nil {
		t.Fatal(err)
	}
	old, err := v6.Release(targetBytes(t, r, v6, dbformat.ReleaseTarget))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []Accepted{rel, set, Release{}, Restrictions{}} {
		if err := tr.Accept(a); err != nil {
			t.Fatal(err)
		}
	}
	wantUntrusted(t, nil, tr.Accept(old), "release", ReasonRollback)
	for _, again := range []func() (*Verified, error){
		func() (*Verified, error) { return tr.Refresh(t.Context(), serve(r), RefreshOptions{Now: day0}) },
		tr.Stored,
	} {
		v, err := again()
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Release(targetBytes(t, r, v, dbformat.ReleaseTarget))
		if e := wantUntrusted(t, nil, err, "release", ReasonRollback); e.Version != 6 || e.Floor != 7 {
			t.Errorf("release %d, floor %d", e.Version, e.Floor)
		}
		_, err = v.Restrictions(targetBytes(t, r, v, dbformat.RestrictionsTarget))
		wantUntrusted(t, nil, err, "epoch", ReasonRollback)
	}
}

// Guard: Verified.Release compares length and hash.
func TestReleaseOfAnotherMirror(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	v := refresh(t, newTrust(t, r), serve(r), day0)
	for _, b := range [][]byte{nil, releaseBytes(t, 2), append(releaseBytes(t, 1), ' ')} {
		rel, err := v.Release(b)
		wantUntrusted(t, rel, err, "release", ReasonMismatch)
		if !rel.IsZero() {
			t.Error("a release came with the error")
		}
		set, err := v.Restrictions(b)
		wantUntrusted(t, set, err, "epoch", ReasonMismatch)
	}
}

// Guard: steps of more than 2^32 in judge. Exactly 2^32 is allowed.
func TestFastForward(t *testing.T) {
	t.Parallel()
	for _, role := range setRoles {
		r := newRepository(t, RepositoryOptions{})
		publish(t, r, 1, day0)
		tr := newTrust(t, r)
		v := refresh(t, tr, serve(r), day0)
		f := newForge(t, r)
		f.bump(math.MaxUint32+2, role)
		unchanged(t, tr, func() { refuse(t, tr, f.source(), day0, role, ReasonFastForward) })
		f.bump(-1, role)
		if got := refresh(t, tr, f.source(), day0).Version(role); got != v.Version(role)+1<<32 {
			t.Errorf("%s at %d", role, got)
		}
	}
}

// Guard: floors restart when the keys that vouched for them are taken away, and only then.
func TestRecoveryFromFastForward(t *testing.T) {
	t.Parallel()
	for _, role := range []string{RoleTimestamp, RoleSnapshot, RoleTargets, RoleDatabase, RoleRestrictions} {
		t.Run(role, func(t *testing.T) {
			r := newRepository(t, RepositoryOptions{})
			publish(t, r, 1, day0)
			tr := newTrust(t, r)
			refresh(t, tr, serve(r), day0)
			thief := newForge(t, r)
			thief.bump(1_000_000, role)
			stuck := refresh(t, tr, thief.source(), day0)
			if role == RoleDatabase { // the thief's release was even used
				rel, err := stuck.Release(targetBytes(t, r, stuck, dbformat.ReleaseTarget))
				if err != nil {
					t.Fatal(err)
				}
				rel.n.value = 1_000_000
				if err := tr.Accept(rel); err != nil {
					t.Fatal(err)
				}
			}
			publish(t, r, 2, day0)
			refuse(t, tr, serve(r), day0, role, ReasonRollback)
			if err := r.Rotate(role, day0, &stream{seed: 5}); err != nil {
				t.Fatal(err)
			}
			v := refresh(t, tr, serve(r), day0)
			reset := false
			for _, n := range v.Notes() {
				reset = reset || n.Code == NoteFloorReset && strings.Contains(n.Text, role)
			}
			if !reset {
				t.Errorf("notes %v do not tell of the reset", v.Notes())
			}
			if _, err := v.Release(targetBytes(t, r, v, dbformat.ReleaseTarget)); err != nil {
				t.Error(err)
			}
			// The floor counts from here on.
			before := serveDir(t, r)
			publish(t, r, 3, day0)
			refresh(t, tr, serve(r), day0)
			if _, err := tr.Refresh(t.Context(), before, RefreshOptions{Now: day0}); !errors.Is(err, ErrStale) {
				t.Errorf("replay after recovery: %v", err)
			}
		})
	}
}

// Guard: expiry of each role against the reference time.
func TestFreeze(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	for role, life := range map[string]time.Duration{RoleTimestamp: LifeTimestamp, RoleSnapshot: LifeSnapshot, RoleDatabase: LifeDelegated,
		RoleRestrictions: LifeDelegated, RoleTargets: LifeTargets, RoleRoot: LifeRoot} {
		t.Run(role, func(t *testing.T) {
			// Everything else lives long, so that this role alone is what expires.
			f := newForge(t, r)
			for _, other := range append([]string{RoleRoot}, setRoles...) {
				if other != role {
					f.signed[other]["expires"] = day0.Add(life + Life(other)).Format(time.RFC3339)
				}
			}
			tr := newTrust(t, r)
			f.bump(1, RoleRoot)
			src := f.source()
			refresh(t, tr, src, day0.Add(life))
			if err := os.Remove(filepath.Join(tr.dir, verifiedFile)); err != nil {
				t.Fatal(err)
			}
			e := refuse(t, tr, src, day0.Add(life+time.Second), role, ReasonExpired)
			if !e.Expires.Equal(day0.Add(life)) {
				t.Errorf("expired at %v, want %v", e.Expires, day0.Add(life))
			}
		})
	}
}

// Guard: a source that lags behind and has expired meanwhile is told as stale, so that another one is asked.
func TestExpiredAndOldIsStale(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	old := serveDir(t, r)
	publish(t, r, 2, day0.Add(8*day))
	tr := newTrust(t, r)
	refresh(t, tr, serve(r), day0.Add(8*day))
	refuse(t, tr, old, day0.Add(8*day), RoleTimestamp, ReasonRollback)
}

// Guard: the reference time, when the clock is set back to revive what has expired.
func TestClockSetBack(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	f := newForge(t, r)
	f.signed[RoleTimestamp]["signed_at"] = "2026-03-15T12:00:00Z" // 14 days later; snapshot is of day0
	f.signed[RoleTimestamp]["expires"] = "2026-03-20T12:00:00Z"
	src := f.source()
	tr := newTrust(t, r)
	refresh(t, tr, src, day0.Add(14*day))
	f.bump(1, RoleTimestamp)
	src = f.source()
	refuse(t, tr, src, day0.Add(14*day+time.Second), RoleSnapshot, ReasonExpired)
	// Set back by a year: judged at the newest signed time, at which it is just good, and noted.
	v := refresh(t, tr, src, day0.Add(-365*day))
	if n := v.Notes(); len(n) != 1 || n[0].Code != NoteClockBehind {
		t.Errorf("notes %v, want %s", n, NoteClockBehind)
	}
	// A replay of something that had expired by then is not revived.
	f.signed[RoleSnapshot]["expires"] = "2026-03-14T00:00:00Z"
	f.bump(1, RoleTimestamp, RoleSnapshot)
	refuse(t, tr, f.source(), day0.Add(-365*day), RoleSnapshot, ReasonExpired)
	// Within a day the clock is as right as any.
	if v := refresh(t, tr, src, day0.Add(13*day+time.Minute)); len(v.Notes()) != 0 {
		t.Errorf("notes %v, want none", v.Notes())
	}
}

// Guards: lives, signedFloor. A publisher's clock that was ahead once must not shut its clients out when it is right again: by years, and what it
// signed is not believed; by two days, and it is, with a note.
func TestPublisherClockAheadOnce(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	f := newForge(t, r)
	f.signed[RoleTimestamp]["signed_at"], f.signed[RoleTimestamp]["expires"] = "2036-03-01T00:00:00Z", "2036-03-08T00:00:00Z"
	refuse(t, tr, f.source(), day0, RoleTimestamp, ReasonLifetime)
	ahead := day0.Add(2 * day)
	f.signed[RoleTimestamp]["signed_at"], f.signed[RoleTimestamp]["expires"] = ahead.Format(time.RFC3339), ahead.Add(LifeTimestamp).Format(time.RFC3339)
	v := refresh(t, tr, f.source(), day0)
	if n := v.Notes(); len(n) != 1 || n[0].Code != NoteSignedInFuture {
		t.Errorf("notes %v, want %s", n, NoteSignedInFuture)
	}
	f = newForge(t, r)
	f.bump(1, RoleTimestamp)
	refresh(t, tr, f.source(), day0.Add(time.Hour))

	// A device that starts in 1970 learns the time from what it believes.
	tr = newTrust(t, r)
	refresh(t, tr, serve(r), time.Unix(0, 0))
	b, err := os.ReadFile(filepath.Join(tr.dir, floorsFile))
	if err != nil {
		t.Fatal(err)
	}
	fl, err := parseFloors(b)
	if err != nil || fl.Floors[floorSigned].Value != uint64(day0.Unix()) {
		t.Errorf("%+v, %v", fl, err)
	}
}

// Guard: the signed time never goes back by more than a day, whatever the versions say.
func TestRollbackOfSignedTime(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	refresh(t, tr, serve(r), day0)
	f := newForge(t, r)
	f.bump(1, RoleTimestamp)
	f.signed[RoleTimestamp]["signed_at"] = "2026-02-28T11:59:59Z"
	unchanged(t, tr, func() { refuse(t, tr, f.source(), day0, RoleTimestamp, ReasonRollback) })
	f.signed[RoleTimestamp]["signed_at"] = "2026-02-28T12:00:00Z"
	refresh(t, tr, f.source(), day0)
}

// Guard: lengths and hashes in snapshot and timestamp bind a set together.
func TestMixAndMatch(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	a := newForge(t, r)
	b := newForge(t, r)
	for _, role := range setRoles { // the same versions, other content, as good signatures
		b.signed[role]["expires"] = "2026-03-05T00:00:00Z"
	}
	fa, fb := a.files(), b.files()
	for name, role := range map[string]string{"2.snapshot.json": RoleSnapshot, "1.targets.json": RoleTargets, "2.database.json": RoleDatabase,
		"2.restrictions.json": RoleRestrictions} {
		mixed := &mapSource{files: fa}
		mixed = mixed.clone()
		mixed.files[name] = fb[name]
		tr := newTrust(t, r)
		refuse(t, tr, mixed, day0, role, ReasonMismatch)
		refresh(t, tr, &mapSource{files: fa}, day0)
	}
}

// Guard: the limits, before anything is parsed. The fetcher is asked for no more than the limit of the role or the signed length.
func TestEndlessMetadata(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	for name, role := range map[string]string{"2.root.json": RoleRoot, "timestamp.json": RoleTimestamp, "2.snapshot.json": RoleSnapshot,
		"1.targets.json": RoleTargets, "2.database.json": RoleDatabase, "2.restrictions.json": RoleRestrictions} {
		src := serveDir(t, r)
		src.files[name] = append(bytes.Clone(src.files[name]), bytes.Repeat([]byte(" "), 4<<20)...)
		refuse(t, newTrust(t, r), src, day0, role, ReasonTooLong)
		if src.most > MaxRoot {
			t.Errorf("%s: asked for %d bytes", name, src.most)
		}
	}
}

// Guard: the limit of the role, also where a stolen timestamp key signs for a longer file.
func TestEndlessSnapshotWithASignedLength(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	f := newForge(t, r)
	f.signed[RoleSnapshot]["x"] = strings.Repeat("a", MaxSnapshot)
	src := f.source()
	refuse(t, newTrust(t, r), src, day0, RoleSnapshot, ReasonTooLong)
	if src.most > MaxSnapshot {
		t.Errorf("asked for %d bytes, want at most %d", src.most, MaxSnapshot)
	}
}

// Guard: lives. Who stole every online key signs documents that do not end, so that the freeze outlasts their lives.
func TestFreezeWithoutEnd(t *testing.T) {
	for _, role := range []string{RoleTimestamp, RoleSnapshot, RoleDatabase, RoleRestrictions} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, RepositoryOptions{})
			publish(t, r, 1, day0)
			tr := newTrust(t, r)
			refresh(t, tr, serve(r), day0)
			f := newForge(t, r)
			f.bump(1, RoleTimestamp, RoleSnapshot, role)
			f.signed[role]["expires"] = day0.Add(Life(role) + 8*day).Format(time.RFC3339)
			unchanged(t, tr, func() { refuse(t, tr, f.source(), day0, role, ReasonLifetime) })
			f.signed[role]["expires"] = day0.Add(Life(role) + 6*day).Format(time.RFC3339) // clocks differ
			refresh(t, tr, f.source(), day0)
		})
	}
}
