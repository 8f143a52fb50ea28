package signing

import (
	"crypto/sha256"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// cosigned is a repository whose online roles need two signatures, with the second set of keys in a folder of another host.
func cosigned(t *testing.T) (r *Repository, cosigner string) {
	t.Helper()
	r = newRepository(t, RepositoryOptions{Online: 2})
	publishHeld(t, r, 1, day0)
	sign(t, r, "", true)
	cosigner = filepath.Join(t.TempDir(), "cosigner")
	if err := os.Rename(filepath.Join(r.keys, "cosign"), cosigner); err != nil {
		t.Fatal(err)
	}
	return r, cosigner
}

// publishHeld prepares a release and a restriction set of the same number.
func publishHeld(t *testing.T, r *Repository, version uint64, now time.Time) {
	t.Helper()
	if err := tryHeld(t, r, version, now); err != nil {
		t.Fatal(err)
	}
}

func tryHeld(t *testing.T, r *Repository, version uint64, now time.Time) error {
	held, err := openRepository(r.dir, r.keys, r.f)
	if err != nil {
		t.Fatal(err)
	}
	held.HoldBack()
	return tryPublish(t, held, version, now)
}

// sign runs Sign with the keys of a folder, "" for those of the repository. A folder that is not the repository's is another host's:
// the repository's own keys are out of its reach.
func trySign(t *testing.T, r *Repository, keys string, now time.Time) (*Pending, error) {
	t.Helper()
	if keys != "" {
		own, away := filepath.Join(r.dir, "keys"), filepath.Join(r.dir, "away")
		if err := os.Rename(own, away); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := os.Rename(away, own); err != nil {
				t.Fatal(err)
			}
		}()
	}
	host, err := openRepository(r.dir, keys, r.f)
	if err != nil {
		return nil, err
	}
	return host.Sign(now)
}

func sign(t *testing.T, r *Repository, keys string, visible bool) *Pending {
	t.Helper()
	p, err := trySign(t, r, keys, day0)
	if err != nil {
		t.Fatal(err)
	}
	if p.Visible != visible {
		t.Fatalf("visible: %t; lacks %s", p.Visible, p.Lacks())
	}
	return p
}

func servedRelease(t *testing.T, r *Repository) uint64 {
	t.Helper()
	return servedReleaseAt(t, r, day0)
}

func servedReleaseAt(t *testing.T, r *Repository, now time.Time) uint64 {
	t.Helper()
	v := refresh(t, newTrust(t, r), serve(r), now)
	rel, err := v.Release(targetBytes(t, r, v, dbformat.ReleaseTarget))
	if err != nil {
		t.Fatal(err)
	}
	return rel.Record().Stable.Version
}

// A release is not visible before both hosts have signed it: the publishing host, then the co-signing host, then the one with the
// timestamp key.
func TestCosign(t *testing.T) {
	t.Parallel()
	r, cosigner := cosigned(t)
	before := tree(t, r.PublicDir())
	publishHeld(t, r, 2, day0)
	if after := tree(t, r.PublicDir()); !maps.Equal(before, after) {
		t.Fatal("the public tree changed before the release was signed")
	}
	if p := sign(t, r, "", false); !strings.Contains(p.Lacks(), "database has 1 of 2 signatures") || strings.Contains(p.Lacks(), "snapshot") {
		t.Errorf("lacks %q", p.Lacks())
	}
	p := sign(t, r, cosigner, false)
	if p.Release == nil || p.Release.Version != 2 || p.Restrictions != 2 {
		t.Errorf("shown: %+v", p)
	}
	if !strings.Contains(p.Lacks(), "snapshot has 1 of 2 signatures") {
		t.Errorf("lacks %q", p.Lacks())
	}
	if again := sign(t, r, cosigner, false); again.Lacks() != p.Lacks() {
		t.Errorf("lacks %q after signing again", again.Lacks())
	}
	if after := tree(t, r.PublicDir()); !maps.Equal(before, after) {
		t.Fatal("the public tree changed before the snapshot was signed")
	}
	sign(t, r, "", true)
	if got := servedRelease(t, r); got != 2 {
		t.Errorf("release %d is served", got)
	}
	if left := tree(t, filepath.Join(r.dir, "pending")); len(left) != 0 {
		t.Errorf("left over: %v", slices.Collect(maps.Keys(left)))
	}
	if _, err := trySign(t, r, cosigner, day0); !errors.Is(err, ErrNothingPending) {
		t.Errorf("nothing pending: %v", err)
	}
}

// With both sets of keys at hand one run is enough.
func TestCosignOnOneHost(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{Online: 2})
	publishHeld(t, r, 1, day0)
	sign(t, r, "", true)
	if got := servedRelease(t, r); got != 1 {
		t.Errorf("release %d is served", got)
	}
}

// A publishing host alone cannot publish where two have to sign, and says what to do.
func TestCommitWithoutCosigner(t *testing.T) {
	t.Parallel()
	r, cosigner := cosigned(t)
	before := tree(t, filepath.Join(r.PublicDir(), "metadata"))
	r, err := openRepository(r.dir, "", r.f)
	if err != nil {
		t.Fatal(err)
	}
	if err := tryPublish(t, r, 2, day0); !errors.Is(err, ErrNoKey) {
		t.Errorf("commit: %v", err)
	}
	if after := tree(t, filepath.Join(r.PublicDir(), "metadata")); !maps.Equal(before, after) {
		t.Error("something was signed")
	}
	publishHeld(t, r, 2, day0)
	// Neither can one host sign twice, nor somebody else.
	sign(t, r, "", false)
	sign(t, r, "", false)
	stranger := newRepository(t, RepositoryOptions{Online: 2, Rand: &stream{seed: 77}})
	if _, err := trySign(t, r, filepath.Join(stranger.keys, "cosign"), day0); !errors.Is(err, ErrNoKey) {
		t.Errorf("stranger: %v", err)
	}
	if _, err := trySign(t, r, filepath.Join(t.TempDir(), "nothing"), day0); !errors.Is(err, ErrNoKey) {
		t.Errorf("no folder: %v", err)
	}
	sign(t, r, cosigner, false)
	sign(t, r, "", true)
}

// A new release takes the place of the one that waits, under numbers of its own.
func TestPendingIsSuperseded(t *testing.T) {
	t.Parallel()
	r, cosigner := cosigned(t)
	publishHeld(t, r, 2, day0)
	sign(t, r, cosigner, false)
	first, err := r.Pending(day0)
	if err != nil {
		t.Fatal(err)
	}
	publishHeld(t, r, 3, day0)
	p, err := r.Pending(day0)
	if err != nil || p.Release.Version != 3 || len(p.Roles[1].Quorums[0].Signed) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	if p.Roles[1].Version <= first.Roles[1].Version {
		t.Errorf("%s version %d again: two documents of one number are signed", p.Roles[1].Role, p.Roles[1].Version)
	}
	if left := tree(t, filepath.Join(r.dir, "pending", "targets")); len(left) != 2 {
		t.Errorf("%d files wait, want those of the new release", len(left))
	}
	sign(t, r, cosigner, false)
	sign(t, r, "", true)
	if got := servedRelease(t, r); got != 3 {
		t.Errorf("release %d is served", got)
	}
}

// A commit that is visible at once names no file that only waits in DIR/pending: clients would not find it.
func TestCommitOfAHeldFile(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publishHeld(t, r, 1, day0)
	held, err := r.Pending(day0)
	if err != nil || held.Release == nil {
		t.Fatalf("%+v, %v", held, err)
	}
	b := releaseBytes(t, 1)
	target := Target{Path: dbformat.ReleaseTarget, Length: int64(len(b)), SHA256: sha256.Sum256(b)}
	if err := r.Commit(map[string][]Target{RoleDatabase: {target}}, day0); !errors.Is(err, ErrTarget) {
		t.Errorf("got %v, want %v", err, ErrTarget)
	}
	publish(t, r, 1, day0)
	if got := servedRelease(t, r); got != 1 {
		t.Errorf("release %d is served", got)
	}
}

// redo has the publishing host, as the attacker, sign what it likes in the place of what waits.
func redo(role string, change func(d *document)) func(t *testing.T, r *Repository) {
	return func(t *testing.T, r *Repository) {
		s, err := r.load()
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.readPending(s)
		if err != nil {
			t.Fatal(err)
		}
		ring, err := r.allKeys()
		if err != nil {
			t.Fatal(err)
		}
		d := *p.docs[role]
		d.targets = maps.Clone(d.targets)
		change(&d)
		a, _ := s.authorityOf(role)
		keys, _ := ring.pick(role, authority{a.keyids, 1, nil}, "")
		raw, err := encode(&d, keys)
		if err == nil {
			err = p.put(role, raw)
		}
		if err == nil {
			err = r.savePending(p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What somebody did to the pending change is found before a key signs.
func TestCosignerVerifies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, r *Repository)
		want  error
	}{
		"version back":     {redo(RoleDatabase, func(d *document) { d.version-- }), ErrChanged},
		"version far off":  {redo(RoleDatabase, func(d *document) { d.version += math.MaxUint32 + 2 }), ErrChanged},
		"lives too long":   {redo(RoleDatabase, func(d *document) { d.expires = day0.Add(LifeDelegated + 2*day) }), ErrChanged},
		"expired":          {redo(RoleDatabase, func(d *document) { d.expires = day0 }), ErrChanged},
		"release back":     {redo(RoleDatabase, func(d *document) { d.targets = map[string]Target{} }), ErrChanged},
		"missing file":     {redo(RoleDatabase, func(d *document) { d.targets["light/x.bundle"] = Target{Path: "light/x.bundle", Length: 3} }), ErrTarget},
		"another hash":     {redo(RoleDatabase, func(d *document) { x := d.targets["release.json"]; x.SHA256[0]++; d.targets["release.json"] = x }), ErrTarget},
		"another length":   {redo(RoleDatabase, func(d *document) { x := d.targets["release.json"]; x.Length--; d.targets["release.json"] = x }), ErrTarget},
		"foreign path":     {redo(RoleRestrictions, func(d *document) { d.targets["restrictions/x"] = Target{Path: "restrictions/x", Length: 1} }), ErrTarget},
		"signed meanwhile": {useVersion, ErrChanged},
		"file cut": {func(t *testing.T, r *Repository) {
			for name := range tree(t, filepath.Join(r.dir, "pending", "targets")) {
				if err := os.Truncate(filepath.Join(r.dir, "pending", "targets", name), 1); err != nil {
					t.Fatal(err)
				}
			}
		}, ErrTarget},
		"no JSON": {func(t *testing.T, r *Repository) {
			if err := os.WriteFile(filepath.Join(r.dir, "pending", pendingFile), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrRepository},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, cosigner := cosigned(t)
			publishHeld(t, r, 2, day0)
			c.spoil(t, r)
			pendingBefore := tree(t, filepath.Join(r.dir, "pending"))
			public := tree(t, r.PublicDir())
			_, err := trySign(t, r, cosigner, day0)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if e, ok := errors.AsType[*RepositoryError](err); !ok || e.Remedy == "" {
				t.Errorf("%v tells no remedy", err)
			}
			if !maps.Equal(tree(t, filepath.Join(r.dir, "pending")), pendingBefore) || !maps.Equal(tree(t, r.PublicDir()), public) {
				t.Error("something was signed")
			}
			// Dropped and prepared again, all is well.
			if err := r.DropPending(); err != nil {
				t.Fatal(err)
			}
			publishHeld(t, r, 2, day0)
			sign(t, r, cosigner, false)
			sign(t, r, "", true)
		})
	}
}

// useVersion uses up the number that the pending document of database has.
func useVersion(t *testing.T, r *Repository) {
	t.Helper()
	s, err := r.load()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := r.allKeys()
	if err != nil {
		t.Fatal(err)
	}
	d := *s.docs[RoleDatabase]
	d.version++
	keys, _ := ring.pick(RoleDatabase, authority{s.docs[RoleTargets].roles[RoleDatabase].keyids, 1, nil}, "")
	raw, err := encode(&d, keys)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.PublicDir(), "metadata", "3.database.json"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Offline keys on two hosts: each signs in its turn, and what is said is shown.
func TestOfflineKeysOnSeveralHosts(t *testing.T) {
	t.Parallel()
	for _, role := range []string{RoleRoot, RoleTargets, RoleDatabase, RoleTimestamp} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
			publish(t, r, 1, day0)
			tr := newTrust(t, r)
			refresh(t, tr, serve(r), day0)
			second := moveKeys(t, r, 1, 2)
			before := tree(t, r.PublicDir())
			rotation, err := r.RotateKeys(role, RotateOptions{Now: day0, Rand: &stream{seed: 5}})
			if !errors.Is(err, ErrPending) || !rotation.Pending {
				t.Fatalf("%+v, %v", rotation, err)
			}
			if !maps.Equal(tree(t, r.PublicDir()), before) {
				t.Error("something became visible")
			}
			p, err := r.Pending(day0)
			if err != nil || len(p.Changes) != 2*len(rotation.Keys) {
				t.Fatalf("%+v, %v", p, err)
			}
			// A release of the meantime does not disturb it, but one that is held back would take its place.
			if err := tryHeld(t, r, 2, day0); !errors.Is(err, ErrOtherPending) {
				t.Errorf("held release: %v", err)
			}
			if role != RoleDatabase {
				publish(t, r, 2, day0)
			}
			p, err = trySign(t, r, second, day0)
			if err != nil {
				t.Fatal(err)
			}
			if p.Visible != (role == RoleRoot) {
				t.Errorf("visible: %t, lacks %q", p.Visible, p.Lacks())
			}
			if role != RoleRoot {
				sign(t, r, "", true)
			}
			refresh(t, tr, serve(r), day0)
			s, err := r.load()
			if a, _ := s.authorityOf(role); err != nil || !sameKeys(a.keyids, rotation.Keys) {
				t.Errorf("keys of %s: %v", role, err)
			}
		})
	}
}

// moveKeys takes offline keys of both roles, by their place, to another host.
func moveKeys(t *testing.T, r *Repository, which ...int) (folder string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "host")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{RoleRoot, RoleTargets} {
		names, err := filepath.Glob(filepath.Join(r.keys, "offline", role+"-*.pem"))
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range which {
			if err := os.Rename(names[i], filepath.Join(folder, filepath.Base(names[i]))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return folder
}

// Where two have to sign, the publishing host still renews the timestamp alone; the rest waits for the other host.
func TestRenewWithCosigner(t *testing.T) {
	t.Parallel()
	r, cosigner := cosigned(t)
	later := day0.Add(5 * day)
	done, err := r.Renew(later)
	if err != nil || len(done) != 1 || done[0].Role != RoleTimestamp {
		t.Fatalf("%v, %v", done, err)
	}
	later = day0.Add(11 * day)
	for range 2 { // daily
		done, err = r.Renew(later)
		if !errors.Is(err, ErrPending) {
			t.Fatalf("%v, %v", done, err)
		}
		later = later.Add(day)
	}
	p, err := r.Pending(later)
	if err != nil || p.Kind != ChangeRenewal {
		t.Fatalf("%+v, %v", p, err)
	}
	refresh(t, newTrust(t, r), serve(r), later)
	if _, err := trySign(t, r, cosigner, later); err != nil {
		t.Fatal(err)
	}
	p, err = trySign(t, r, "", later)
	if err != nil || !p.Visible {
		t.Fatalf("%+v, %v", p, err)
	}
	refresh(t, newTrust(t, r), serve(r), later.Add(6*day))
}

// A release that waits does not keep the timestamp from being renewed, and goes on afterwards.
func TestRenewWhileAReleaseWaits(t *testing.T) {
	t.Parallel()
	r, cosigner := cosigned(t)
	publishHeld(t, r, 2, day0)
	if _, err := trySign(t, r, cosigner, day0); err != nil {
		t.Fatal(err)
	}
	later := day0.Add(5 * day)
	if done, err := r.Renew(later); err != nil || len(done) != 1 {
		t.Fatalf("%v, %v", done, err)
	}
	if p, err := trySign(t, r, "", later); err != nil || !p.Visible {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := servedReleaseAt(t, r, later); got != 2 {
		t.Errorf("release %d is served", got)
	}
}

// A run that is killed between any two steps of preparing or signing leaves a public tree that verifies, of before or after, and the next
// runs complete the change.
func TestKillBetweenAnyTwoStepsOfCosigning(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ready func(t *testing.T, r *Repository)
		run   func(t *testing.T, r *Repository) error
	}{
		"publish --unsigned": {
			func(*testing.T, *Repository) {},
			func(t *testing.T, r *Repository) error { r.HoldBack(); return tryPublish(t, r, 2, day0) },
		},
		"supersede": {
			func(t *testing.T, r *Repository) { publishHeld(t, r, 2, day0) },
			func(t *testing.T, r *Repository) error { r.HoldBack(); return tryPublish(t, r, 3, day0) },
		},
		"sign": {
			func(t *testing.T, r *Repository) { publishHeld(t, r, 2, day0) },
			func(t *testing.T, r *Repository) error { _, err := r.Sign(day0); return err },
		},
		"drop": {
			func(t *testing.T, r *Repository) { publishHeld(t, r, 2, day0) },
			func(t *testing.T, r *Repository) error { return r.DropPending() },
		},
		"approve": {
			func(*testing.T, *Repository) {},
			func(t *testing.T, r *Repository) error { return r.Approve(2, day0) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, RepositoryOptions{Online: 2})
			publishHeld(t, r, 1, day0)
			sign(t, r, "", true)
			c.ready(t, r)
			seen := map[uint64]int{}
			for at := 1; ; at++ {
				for _, applies := range waysToDie(at) {
					dir := copyTree(t, r.dir)
					k := &killer{at: at, applies: applies, dir: dir}
					dying, err := openRepository(dir, "", files{disk: hook(k.hook)})
					if err != nil {
						t.Fatal(err)
					}
					err = c.run(t, dying)
					if k.n < at {
						if err != nil {
							t.Fatal(err)
						}
						t.Logf("%d steps; served after the kill: %v", k.n, seen)
						return
					}
					step := k.ops[at-1]
					again, err := openRepository(dir, "", noSync)
					if err != nil {
						t.Fatalf("killed at %s: %v", step, err)
					}
					seen[servedRelease(t, again)]++
					if _, err := again.Pending(day0); err != nil {
						t.Fatalf("killed at %s: %v", step, err)
					}
					if _, err := again.Sign(day0); err != nil && !errors.Is(err, ErrNothingPending) {
						t.Fatalf("killed at %s: sign: %v", step, err)
					}
					publishHeld(t, again, 4, day0)
					if p, err := again.Sign(day0); err != nil || !p.Visible {
						t.Fatalf("killed at %s: next release: %v", step, err)
					}
					if got := servedRelease(t, again); got != 4 {
						t.Fatalf("killed at %s: release %d is served", step, got)
					}
					for _, folder := range []string{"tmp", "pending"} {
						if left := tree(t, filepath.Join(dir, folder)); len(left) != 0 {
							t.Errorf("killed at %s: left in %s: %v", step, folder, slices.Collect(maps.Keys(left)))
						}
					}
				}
			}
		})
	}
}
