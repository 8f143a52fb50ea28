package signing

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// Rotation tells what it did: new keys and their files, the old ones, the root that says so.
func TestRotationReport(t *testing.T) {
	t.Parallel()
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		r := newRepository(t, RepositoryOptions{Threshold: 2, Keys: 3})
		s, err := r.load()
		if err != nil {
			t.Fatal(err)
		}
		old, _ := s.authorityOf(role)
		got, err := r.RotateKeys(role, RotateOptions{Now: day0, Rand: &stream{seed: 3}})
		if err != nil {
			t.Fatal(err)
		}
		if s, err = r.load(); err != nil {
			t.Fatal(err)
		}
		is, _ := s.authorityOf(role)
		if !slices.Equal(got.Keys, is.keyids) || got.Threshold != old.threshold || len(got.Keys) != len(old.keyids) || !slices.Equal(got.OldKeys, old.keyids) ||
			len(got.OldFiles) != len(old.keyids) || got.Root != s.root.version || got.Pending {
			t.Errorf("%s: %+v", role, got)
		}
		for _, name := range got.KeyFiles {
			info, err := os.Stat(name)
			if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
		for _, id := range old.keyids {
			if slices.Contains(is.keyids, id) {
				t.Errorf("%s still has key %.8s", role, id)
			}
		}
		// The old key files are of no use any more.
		for _, name := range got.OldFiles {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		publish(t, r, 1, day0)
		refresh(t, newTrust(t, r), serve(r), day0)
	}
}

// Thresholds go up and down, for each role, and an endpoint that knows the first root follows all of it.
func TestRotateThresholdUpAndDown(t *testing.T) {
	t.Parallel()
	for i, role := range append([]string{RoleRoot}, setRoles...) {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, RepositoryOptions{})
			publish(t, r, 1, day0)
			fromStart, follows := newTrust(t, r), newTrust(t, r)
			for n, c := range []struct{ threshold, keys int }{{1, 3}, {3, 5}, {2, 2}, {1, 1}} {
				got, err := r.RotateKeys(role, RotateOptions{Threshold: c.threshold, Keys: c.keys, Now: day0, Rand: &stream{seed: uint64(100*i + n + 2)}})
				if err != nil || got.Threshold != c.threshold || len(got.Keys) != c.keys {
					t.Fatalf("%d of %d: %+v, %v", c.threshold, c.keys, got, err)
				}
				refresh(t, follows, serve(r), day0)
				s, err := r.load()
				if err != nil {
					t.Fatal(err)
				}
				a, keys := s.authorityOf(role)
				if good, err := signedBy(role, s.raw[role], a, keys); err != nil || a.threshold != c.threshold || len(good) < a.threshold {
					t.Fatalf("%d of %d: %d good signatures, threshold %d, %v", c.threshold, c.keys, len(good), a.threshold, err)
				}
				// One signature fewer than the threshold is refused.
				f := newForge(t, r)
				f.keys[role] = a.keyids[:c.threshold-1]
				if c.threshold > 1 {
					f.bump(1, role)
					if role == RoleRoot {
						refuse(t, follows, f.source(), day0, role, ReasonSignature)
					} else {
						refuse(t, newTrust(t, r), withRoots(t, r, f.source()), day0, role, ReasonSignature)
					}
				}
			}
			refresh(t, fromStart, serve(r), day0)
		})
	}
}

// withRoots adds the roots of a repository to what a forge serves.
func withRoots(t *testing.T, r *Repository, m *mapSource) *mapSource {
	t.Helper()
	for name, b := range serveDir(t, r).files {
		if _, ok := m.files[name]; !ok && strings.HasSuffix(name, ".root.json") {
			m.files[name] = b
		}
	}
	return m
}

func TestRotateRefusals(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	before := tree(t, r.dir)
	for _, c := range []struct {
		role string
		o    RotateOptions
	}{
		{"", RotateOptions{}}, {"mirror", RotateOptions{}}, {"ROOT", RotateOptions{}},
		{RoleRoot, RotateOptions{Threshold: -1}}, {RoleRoot, RotateOptions{Threshold: 3, Keys: 2}}, {RoleRoot, RotateOptions{Keys: 17}},
		{RoleRoot, RotateOptions{Keys: -1}},
	} {
		c.o.Now = day0
		if _, err := r.RotateKeys(c.role, c.o); err == nil {
			t.Errorf("%q %+v: no error", c.role, c.o)
		}
	}
	// Without the keys that must say so, no key is made.
	if err := os.Rename(filepath.Join(r.keys, "offline"), filepath.Join(r.dir, "away")); err != nil {
		t.Fatal(err)
	}
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		_, err := r.RotateKeys(role, RotateOptions{Now: day0})
		if e, ok := errors.AsType[*RepositoryError](err); !ok || e.Kind != ErrNoKey || e.Remedy == "" {
			t.Errorf("%s: %v", role, err)
		}
	}
	if err := os.Rename(filepath.Join(r.dir, "away"), filepath.Join(r.keys, "offline")); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, r.dir); len(after) != len(before) {
		t.Errorf("%d files, were %d", len(after), len(before))
	}
}

// A thief of an online key signs version 2^31 of its role: endpoints that saw it refuse the true repository until the role's key is
// rotated, and go on from then. What the thief signs afterwards is refused.
func TestRotationRecoversFromFastForward(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		role   string
		stolen []string
	}{
		{RoleTimestamp, []string{RoleTimestamp}},
		{RoleSnapshot, []string{RoleSnapshot, RoleTimestamp}},
		{RoleDatabase, []string{RoleDatabase, RoleSnapshot, RoleTimestamp}},
		{RoleRestrictions, []string{RoleRestrictions, RoleSnapshot, RoleTimestamp}},
	} {
		t.Run(c.role, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, RepositoryOptions{})
			publish(t, r, 1, day0)
			tr := newTrust(t, r)
			refresh(t, tr, serve(r), day0)
			thief := newForge(t, r)
			thief.bump(1<<31, c.role)
			for _, role := range c.stolen[1:] {
				thief.bump(1, role)
			}
			if got := refresh(t, tr, thief.source(), day0).Version(c.role); got < 1<<31 {
				t.Fatalf("%s at %d", c.role, got)
			}
			publish(t, r, 2, day0)
			publish(t, r, 3, day0)
			refuse(t, tr, serve(r), day0, c.role, ReasonRollback)
			for i, role := range c.stolen {
				if err := r.Rotate(role, day0, &stream{seed: uint64(9 + i)}); err != nil {
					t.Fatal(err)
				}
			}
			v := refresh(t, tr, serve(r), day0)
			if rel, err := v.Release(targetBytes(t, r, v, dbformat.ReleaseTarget)); err != nil || rel.Record().Stable.Version != 3 {
				t.Fatalf("release %v, %v", rel.Record().Stable.Version, err)
			}
			floor := v.Version(c.role)
			// The thief goes on with the old keys, under the new root.
			thief.bump(1<<20, c.role)
			late := withRoots(t, r, thief.source())
			delete(late.files, "1.root.json")
			if _, err := tr.Refresh(t.Context(), late, RefreshOptions{Now: day0}); !errors.Is(err, ErrUntrusted) {
				t.Errorf("the thief is believed again: %v", err)
			}
			publish(t, r, 4, day0)
			if got := refresh(t, tr, serve(r), day0).Version(c.role); got < floor {
				t.Errorf("%s went from %d to %d", c.role, floor, got)
			}
		})
	}
}

// The same when the thief wrote to the publishing host itself: numbers go on after those of the thief.
func TestRotateAfterFastForwardOnTheHost(t *testing.T) {
	t.Parallel()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	thief := newForge(t, r)
	thief.bump(math.MaxInt32, RoleTimestamp, RoleSnapshot)
	for name, b := range thief.files() {
		if err := os.WriteFile(filepath.Join(r.PublicDir(), "metadata", name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	refresh(t, tr, serve(r), day0)
	for _, role := range []string{RoleTimestamp, RoleSnapshot} {
		if err := r.Rotate(role, day0, &stream{seed: 8}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := openRepository(r.dir, "", noSync)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, r, 2, day0)
	refresh(t, tr, serve(r), day0)
	refresh(t, newTrust(t, r), serve(r), day0)
}

// Keys of another repository, a folder that is none, or a damaged key are told apart.
func TestRotateWithWrongKeys(t *testing.T) {
	t.Parallel()
	r, other := newRepository(t, RepositoryOptions{}), newRepository(t, RepositoryOptions{Rand: &stream{seed: 50}})
	damaged := filepath.Join(t.TempDir(), "keys")
	if err := os.CopyFS(damaged, os.DirFS(r.keys)); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(damaged, "offline", "root-*.pem"))
	if err != nil || os.WriteFile(names[0], []byte("x"), 0o600) != nil {
		t.Fatal(err)
	}
	for keys, want := range map[string]string{
		other.keys:                         "needs 1 of the keys",
		filepath.Join(t.TempDir(), "none"): "is no folder",
		damaged:                            "not one PEM block",
	} {
		o, err := openRepository(r.dir, keys, noSync)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Rotate(RoleRoot, day0, nil); !errors.Is(err, ErrNoKey) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v, want %q", keys, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(r.PublicDir(), "metadata", "2.root.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a root was signed")
	}
}

// Keys that are lost are replaced without their signatures; killed anywhere, running it again puts all right, and endpoints never believe
// less than before.
func TestRotateLostKeys(t *testing.T) {
	t.Parallel()
	for _, role := range setRoles {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, RepositoryOptions{})
			publish(t, r, 1, day0)
			tr := newTrust(t, r)
			refresh(t, tr, serve(r), day0)
			names, err := filepath.Glob(filepath.Join(r.keys, "*", role+"-*.pem"))
			if err != nil || len(names) != 1 || os.Remove(names[0]) != nil {
				t.Fatalf("%q, %v", names, err)
			}
			if delegatedPaths[role] == nil && role != RoleTargets {
				if err := r.Rotate(role, day0, &stream{seed: 5}); !errors.Is(err, ErrPending) {
					t.Errorf("without the old key: %v", err)
				}
				if err := r.DropPending(); err != nil {
					t.Fatal(err)
				}
			}
			lost := RotateOptions{Lost: true, Now: day0, Rand: &stream{seed: 6}}
			step := 1
			if !thorough {
				step = 2
			}
			torn := 0
			for at := 1; ; at += step {
				dir := copyTree(t, r.dir)
				k := &killer{at: at, applies: at%4 < 2, dir: dir}
				dying, err := openRepository(dir, "", files{disk: hook(k.hook)})
				if err != nil {
					t.Fatal(err)
				}
				_, err = dying.RotateKeys(role, lost)
				if k.n < at {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				src := &source{dir: filepath.Join(dir, "public")}
				if _, err := newTrust(t, r).Refresh(t.Context(), src, RefreshOptions{Now: day0}); err != nil {
					torn++
				}
				again, err := openRepository(dir, "", noSync)
				if err != nil {
					t.Fatalf("killed at %s: %v", k.ops[at-1], err)
				}
				if _, err := again.RotateKeys(role, RotateOptions{Lost: true, Now: day0, Rand: &stream{seed: 7}}); err != nil {
					t.Fatalf("killed at %s: %v", k.ops[at-1], err)
				}
				publish(t, again, 2, day0)
				refresh(t, newTrust(t, r), src, day0)
			}
			t.Logf("%d kills left a state that endpoints refuse until the next run", torn)
			if _, err := r.RotateKeys(role, lost); err != nil {
				t.Fatal(err)
			}
			publish(t, r, 2, day0)
			refresh(t, tr, serve(r), day0)
		})
	}
}

// What an interrupted rotation without the old keys leaves is put right by whatever is signed next; only where the keys of targets were
// rotated must it be something that targets sign, and the others say so.
func TestHealInterruptedRotation(t *testing.T) {
	t.Parallel()
	heal := map[string]func(t *testing.T, r *Repository) error{
		"a release": func(t *testing.T, r *Repository) error { return tryPublish(t, r, 2, day0) },
		"a renewal": func(_ *testing.T, r *Repository) error { _, err := r.Renew(day0); return err },
		"an offline renewal": func(_ *testing.T, r *Repository) error {
			_, err := r.RenewOffline(day0)
			return err
		},
		"an approval": func(_ *testing.T, r *Repository) error { return r.Approve(2, day0) },
	}
	for _, role := range []string{RoleTimestamp, RoleSnapshot, RoleTargets} {
		for name, heal := range heal {
			t.Run(role+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := newRepository(t, RepositoryOptions{})
				publish(t, r, 1, day0)
				dead := errors.New("killed")
				dying, err := openRepository(r.dir, "", files{disk: hook(func(op, name string) (bool, error) {
					if op == "rename" && filepath.Base(name) == "timestamp.json" {
						return false, dead
					}
					return withoutSync(op, name)
				})})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := dying.RotateKeys(role, RotateOptions{Lost: true, Now: day0, Rand: &stream{seed: 6}}); !errors.Is(err, dead) {
					t.Fatal(err)
				}
				if _, err := newTrust(t, r).Refresh(t.Context(), serve(r), RefreshOptions{Now: day0}); !errors.Is(err, ErrUntrusted) {
					t.Fatalf("the state is not torn: %v", err)
				}
				again, err := openRepository(r.dir, "", noSync)
				if err != nil {
					t.Fatal(err)
				}
				err = heal(t, again)
				if online := name == "a release" || name == "a renewal"; role == RoleTargets && online {
					if !errors.Is(err, ErrOfflineKeys) || !strings.Contains(err.Error(), "avdb repo renew --offline") {
						t.Errorf("got %v, want %v with a remedy", err, ErrOfflineKeys)
					}
					_, err = again.RenewOffline(day0)
				}
				if err != nil {
					t.Fatal(err)
				}
				refresh(t, newTrust(t, r), serve(r), day0)
			})
		}
	}
}
